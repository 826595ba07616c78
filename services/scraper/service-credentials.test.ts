// Credentials and whom they go to.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { waitFor } from '../../test/support/programs.ts';
import { startScrapeTarget } from '../../test/support/scrape-target.ts';
import { jobOf, labelled, scraperRigs } from '../../test/support/scraper-rig.ts';

const createRig = scraperRigs();

describe('credentials', () => {
  const auth = 'basic_auth: {username: u, password: p}, http_headers: {X-Key: {secrets: [s]}}';

  test('go to the target, and with a redirect to the same host, not to another', async () => {
    const elsewhere = await startScrapeTarget('a 1\n');
    const target = await startScrapeTarget('');
    target.answer = { status: 302, headers: { location: `http://${elsewhere.address}/other` } };
    const rig = await createRig();
    await rig.apply(jobOf(target.address, auth));
    expect((await rig.next(labelled('a', target.address))).value).toBe(1);
    expect(target.requests[0]!.headers).toMatchObject({ authorization: 'Basic dTpw', 'x-key': 's' });
    expect(elsewhere.requests[0]!.url).toBe('/other');
    expect(elsewhere.requests[0]!.headers.authorization).toBeUndefined();
    expect(elsewhere.requests[0]!.headers['x-key']).toBeUndefined();
    expect(elsewhere.requests[0]!.headers['user-agent']).toBe('Tidemark/9.9.9');
  });

  test('redirects are not followed for ever, nor where they are switched off', async () => {
    const target = await startScrapeTarget('');
    target.answer = { status: 301, headers: { location: '/again' } };
    const rig = await createRig();
    await rig.apply(jobOf(target.address));
    // A busy machine may need more than one scrape's time for ten of them.
    await waitFor('the limit of redirects', async () =>
      (await rig.active()).lastError.includes('stopped after 10 redirects'),
    );
    await rig.apply(jobOf(target.address, 'follow_redirects: false'));
    await waitFor(
      'the other error',
      async () => (await rig.active()).lastError === 'server returned HTTP status 301 Moved Permanently',
    );
  });

  test('a token file is read at each scrape', async () => {
    const file = path.join(mkdtempSync(path.join(tmpdir(), 'tidemark-token-')), 'token');
    writeFileSync(file, 'one\n');
    const target = await startScrapeTarget('a 1\n');
    const rig = await createRig();
    await rig.apply(jobOf(target.address, `authorization: {credentials_file: ${file}}`));
    await rig.next(labelled('a', target.address));
    expect(target.requests[0]!.headers.authorization).toBe('Bearer one');
    writeFileSync(file, 'two\n');
    await waitFor(
      'the new token',
      async () => target.requests.at(-1)!.headers.authorization === 'Bearer two',
    );
  });
});
