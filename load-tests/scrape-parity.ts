// The series and values of a Prometheus and of Tidemark that scrape the same real targets by the same prometheus.yml, compared for
// minutes. Prints a line a round and all differences.
import { compareScrapes } from '../test/support/scrape-parity.ts';
import { positive, readFlags, refuse } from './command-line.ts';

const USAGE = `Tidemark beside a Prometheus on real exporters: every series and value of both compared, differences listed.

usage: node load-tests/scrape-parity.ts [flags]

  --minutes N   how long                          10
  --interval S  seconds between scrapes           5
  --peer NAME   prometheus or prometheus-3.14     prometheus
`;

const values = readFlags(USAGE, {
  minutes: { type: 'string', default: '10' },
  interval: { type: 'string', default: '5' },
  peer: { type: 'string', default: 'prometheus' },
});
const { peer } = values;
if (peer !== 'prometheus' && peer !== 'prometheus-3.14')
  refuse(`--peer ${peer}: not prometheus or prometheus-3.14`);

const kinds = new Map<string, number>();
let rounds = 0;
let equal = 0;
await compareScrapes({
  durationMs: positive('minutes', values.minutes) * 60_000,
  scrapeIntervalMs: positive('interval', values.interval) * 1_000,
  peer,
  onRound: ({ series, differences }) => {
    rounds++;
    if (differences.length === 0) equal++;
    console.log(`round ${rounds}: ${series} series, ${differences.length} differ`);
    for (const line of differences) {
      const kind = line.replaceAll(/ -?[\d.e+-]+,? ?/g, ' # ');
      if (!kinds.has(kind)) console.log(`  ${line}`);
      kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
  },
});
console.log(JSON.stringify({ peer, rounds, equal, differences: Object.fromEntries(kinds) }));
process.exit(equal === rounds ? 0 : 1);
