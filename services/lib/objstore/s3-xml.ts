// The few answers of S3 that are XML, read by name: elements without attributes, text with the five entities. What is not as expected is an
// error, never a guess; sizes are bounded by whoever reads the body.
import { AppError } from '../core/errors.ts';
import type { ObjectEntry } from './object-store.ts';

/** One page of a listing. */
export interface ListPage {
  readonly entries: readonly ObjectEntry[];
  /** Where the next page begins; undefined at the end. */
  readonly next: string | undefined;
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** Text of the first element of that name; undefined when there is none. */
export function xmlText(xml: string, element: string): string | undefined {
  const from = xml.indexOf(`<${element}>`);
  if (from < 0) return undefined;
  const start = from + element.length + 2;
  const end = xml.indexOf(`</${element}>`, start);
  return end < 0 ? undefined : unescapeXml(xml.slice(start, end));
}

/** An answer to ListObjectsV2. @throws AppError `unavailable` when it is none. */
export function parseListPage(xml: string): ListPage {
  if (!xml.includes('<ListBucketResult')) throw malformed('no ListBucketResult', xml);
  const entries: ObjectEntry[] = [];
  for (const part of xml.split('<Contents>').slice(1)) {
    const key = xmlText(part, 'Key');
    const sizeBytes = Number(xmlText(part, 'Size'));
    const modifiedMs = Date.parse(xmlText(part, 'LastModified') ?? '');
    if (key === undefined || !Number.isSafeInteger(sizeBytes) || Number.isNaN(modifiedMs))
      throw malformed('an object without key, size or time', part);
    entries.push({ key, sizeBytes, modifiedMs, tag: xmlText(part, 'ETag') ?? '' });
  }
  const isTruncated = xmlText(xml, 'IsTruncated') === 'true';
  const next = isTruncated ? xmlText(xml, 'NextContinuationToken') : undefined;
  if (isTruncated && next === undefined)
    throw malformed('a page that is not the last and names no next', xml);
  return { entries, next };
}

/** The body of CompleteMultipartUpload. */
export function renderCompleteUpload(tags: readonly string[]): string {
  const parts = tags.map(
    (tag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${escapeXml(tag)}</ETag></Part>`,
  );
  return `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts.join('')}</CompleteMultipartUpload>`;
}

function unescapeXml(text: string): string {
  return text.replace(/&(#x[0-9a-fA-F]{1,6}|#\d{1,7}|[a-z]+);/g, (whole, name: string) => {
    if (!name.startsWith('#')) return ENTITIES[name] ?? whole;
    const code = name[1] === 'x' ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

function escapeXml(text: string): string {
  return text.replace(
    /[&<>"']/g,
    (char) => `&${Object.keys(ENTITIES).find((name) => ENTITIES[name] === char)};`,
  );
}

const malformed = (why: string, xml: string): AppError =>
  new AppError(
    'unavailable',
    `object storage answered what is not S3: ${why}: ${JSON.stringify(xml.slice(0, 200))}`,
  );
