// A client that deletes some series of a writer over some time, at a moment that the seed says, and at times takes it back: through a gateway, by the
// admin API's own code. It asks again until it is told that it was done.
import { deleteEverywhere, undoEverywhere } from '../../../services/gateway/api/cluster-deletes.ts';
import { AppError } from '../../../services/lib/core/errors.ts';
import { toWireMatchers } from '../../../services/lib/wire/matchers.ts';
import { onGateway, type Tally } from './client.ts';
import { type Ledger, SIM_METRIC, TENANT, timeOf } from './ledger.ts';
import type { SimCluster } from './sim-cluster.ts';

const RETRY_MS = 500;
/** As the admin API's, but for the faults of a run. */
const TIMEOUT_MS = 20_000;
const UNDO_SHARE = 0.25;
/** Slots that a delete reaches back at most. */
const SLOTS_MAX = 8_000;

export class Deleter {
  readonly #cluster: SimCluster;
  readonly #ledger: Ledger;
  readonly #tally: Tally;
  #isRunning = true;

  constructor(cluster: SimCluster, ledger: Ledger, tally: Tally) {
    this.#cluster = cluster;
    this.#ledger = ledger;
    this.#tally = tally;
  }

  stop(): void {
    this.#isRunning = false;
  }

  /** One delete. Resolves when it was done, was taken back, or is given up because the run is over. */
  async run(): Promise<void> {
    const { world } = this.#cluster;
    const ledger = this.#ledger;
    const series = Array.from({ length: ledger.series }, (_, i) => i).filter(() => world.chance(0.4));
    if (series.length === 0) series.push(0);
    const now = ledger.slotAt(world.nowMs);
    const maxSlot = world.chance(0.5) ? now : now - world.between(0, 1_000);
    const minSlot = maxSlot - world.between(50, SLOTS_MAX);
    const matchers = toWireMatchers([
      { name: '__name__', operator: '=', value: SIM_METRIC },
      { name: 'writer', operator: '=', value: ledger.writer },
      { name: 'series', operator: '=~', value: series.join('|') },
    ]);
    const one = ledger.beginDelete(new Set(series), minSlot, maxSlot);
    let deleteId = '';
    const isDone = await this.#untilDone(() => {
      // Each attempt is another delete, as the admin API has it.
      deleteId = Array.from({ length: 32 }, () => world.between(0, 15).toString(16)).join('');
      return onGateway(this.#cluster, async ({ view }) => {
        const [minTimeMs, maxTimeMs] = [timeOf(minSlot), timeOf(maxSlot)];
        const request = { tenant: TENANT, deleteId, matchers, minTimeMs, maxTimeMs, seriesMax: 0 };
        const asked = { ...request, createdAtMs: Date.now(), actor: 'simulation' };
        await deleteEverywhere(view!.cluster, asked, { signal: this.#timeout() });
        return true;
      });
    });
    if (!isDone) return;
    one.acknowledge(ledger.sent);
    this.#tally.deletes++;
    if (!world.chance(UNDO_SHARE)) return;
    await world.sleep(world.random() * 2 * RETRY_MS);
    one.takeBack();
    const isUndone = await this.#untilDone(() =>
      onGateway(this.#cluster, async ({ view }) => {
        const request = { tenant: TENANT, deleteId, actor: 'simulation' };
        await undoEverywhere(view!.cluster, request, { signal: this.#timeout() });
        return true;
      }),
    );
    if (isUndone) this.#tally.undone++;
  }

  #timeout(): AbortSignal {
    const over = new AbortController();
    const end = (): void => over.abort(new AppError('timeout', `not done within ${TIMEOUT_MS} ms`));
    this.#cluster.world.schedule(TIMEOUT_MS, end);
    return over.signal;
  }

  async #untilDone(attempt: () => Promise<boolean | undefined>): Promise<boolean> {
    while (this.#isRunning) {
      if ((await attempt()) === true) return true;
      await this.#cluster.world.sleep(RETRY_MS);
    }
    return false;
  }
}
