// What this build is, for --version, /api/v1/status/buildinfo and the User-Agent of scrapes.
import { readFileSync } from 'node:fs';

/** Version of package.json. */
export function readVersion(): string {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
