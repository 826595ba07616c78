// The same prometheus.yml given to Prometheus and to Tidemark: both end up with the same series and values, for the exporters that
// people run and a target that is dead. `node load-tests/scrape-parity.ts` is the same for ten minutes.
import { expect, test } from 'vitest';
import { hasPrograms } from '../support/process.ts';
import { compareScrapes, PARITY_PROGRAMS } from '../support/scrape-parity.ts';

test
  .skipIf(!hasPrograms(...PARITY_PROGRAMS, 'prometheus-3.14'))
  .each(['prometheus', 'prometheus-3.14'] as const)(
  'the series of a scrape are those of %s',
  { timeout: 180_000 },
  async (peer) => {
    const rounds = await compareScrapes({ durationMs: 3_000, scrapeIntervalMs: 1_000, peer });
    for (const { series, differences } of rounds) {
      expect(differences).toEqual([]);
      expect(series).toBeGreaterThan(1_000);
    }
  },
);
