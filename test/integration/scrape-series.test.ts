// The same prometheus.yml given to Prometheus and to Tidemark: both end up with the same series and values, for the exporters that
// people run and a target that is dead. `node load-tests/scrape-parity.ts` is the same for ten minutes.
import { expect, test } from 'vitest';
import { hasPrograms } from '../support/process.ts';
import { compareScrapes, PARITY_PROGRAMS } from '../support/scrape-parity.ts';

test.skipIf(!hasPrograms(...PARITY_PROGRAMS))(
  'the series of a scrape are those of Prometheus',
  { timeout: 180_000 },
  async () => {
    const rounds = await compareScrapes({ durationMs: 5_000, scrapeIntervalMs: 1_000, peer: 'prometheus' });
    for (const { series, differences } of rounds) {
      expect(differences).toEqual([]);
      expect(series).toBeGreaterThan(1_000);
    }
  },
);
