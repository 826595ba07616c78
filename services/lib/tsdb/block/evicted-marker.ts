// The file that stands in a block's folder in the place of `chunks` when these are in object storage only (docs/format/block.md).

/** Its name. */
export const MARKER_FILE = 'evicted.json';
export const MARKER_BYTES_MAX = 4096;

/** @param from  Where the chunks are: `s3://bucket/prefix/`. */
export function renderMarker(from: string): string {
  return `${JSON.stringify({ version: 1, from })}\n`;
}

/** Where the chunks are; undefined when the text does not say it. */
export function parseMarker(text: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || !('from' in parsed) || !('version' in parsed))
      return undefined;
    return parsed.version === 1 && typeof parsed.from === 'string' ? parsed.from : undefined;
  } catch {
    return undefined;
  }
}
