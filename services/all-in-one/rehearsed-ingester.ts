// The ingester of the rehearsal: its only tenant has made-up series, which are written nowhere.
import { Counter } from 'prom-client';
import { withDefaults } from '../ingester/options.ts';
import { Reads } from '../ingester/reads/reads.ts';
import { Tenants } from '../ingester/tenants.ts';
import type { Clock } from '../lib/core/clock.ts';
import { DEFAULT_TENANT } from '../lib/model/tenant.ts';
import type { Handlers } from '../lib/transport/rpc.ts';
import type { IngesterDefinition } from '../lib/wire/contracts.ts';
import { fillRehearsedHead } from '../querier/rehearsal/rehearsed-head.ts';

/** Answers selects; nobody asks it for anything else. */
export function makeRehearsedIngester(clock: Clock): Handlers<typeof IngesterDefinition> {
  const options = withDefaults({ dataDir: '' });
  const tenants = new Tenants(options, 1);
  fillRehearsedHead(tenants.getOrMake(DEFAULT_TENANT).head);
  const counter = (name: string) => new Counter({ name, help: name, registers: [] });
  const reads = new Reads({
    tenants,
    clock,
    metrics: { selectedSeries: counter('series'), limitHits: counter('limits') },
    seriesPerSelectMax: options.seriesPerSelectMax,
    ownedPartitions: () => [0],
    completePartitions: async () => () => true,
  });
  const select: Handlers<typeof IngesterDefinition>['select'] = (request, context) =>
    reads.select(request, context);
  return { select } as Handlers<typeof IngesterDefinition>;
}
