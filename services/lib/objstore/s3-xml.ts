// The few answers of S3 that are XML. What is not as expected is an error, never a guess; sizes are bounded by whoever reads the body.
import { AppError } from '../core/errors.ts';
import { escapeXml, textAt, tryParseXml } from '../core/xml.ts';
import type { ObjectEntry } from './object-store.ts';

/** One page of a listing. */
export interface ListPage {
  readonly entries: readonly ObjectEntry[];
  /** Where the next page begins; undefined at the end. */
  readonly next: string | undefined;
}

/** Text of the element of that name below the root; undefined when there is none, or `xml` is no XML at all. */
export function xmlText(xml: string, element: string): string | undefined {
  return textAt(tryParseXml(xml), element);
}

/** An answer to ListObjectsV2. @throws AppError `unavailable` when it is none. */
export function parseListPage(xml: string): ListPage {
  const root = tryParseXml(xml);
  if (root?.name !== 'ListBucketResult') throw malformed('no ListBucketResult', xml);
  const entries: ObjectEntry[] = [];
  for (const part of root.children.filter(({ name }) => name === 'Contents')) {
    const key = textAt(part, 'Key');
    const sizeBytes = Number(textAt(part, 'Size'));
    const modifiedMs = Date.parse(textAt(part, 'LastModified') ?? '');
    if (key === undefined || !Number.isSafeInteger(sizeBytes) || Number.isNaN(modifiedMs))
      throw malformed('an object without key, size or time', key ?? xml);
    entries.push({ key, sizeBytes, modifiedMs, tag: textAt(part, 'ETag') ?? '' });
  }
  const isTruncated = textAt(root, 'IsTruncated') === 'true';
  const next = isTruncated ? textAt(root, 'NextContinuationToken') : undefined;
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

const malformed = (why: string, xml: string): AppError =>
  new AppError(
    'unavailable',
    `object storage answered what is not S3: ${why}: ${JSON.stringify(xml.slice(0, 200))}`,
  );
