// A client that deletes some series of a writer over some time, at a moment that the seed says, and at times takes it back: through a gateway, by the
// admin API's own code. It asks again until it is told that it was done. At times an ingester's machine is gone before, until the delete was done without it.
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
/** Deletes for which an ingester is gone, and given up before they can be done. */
const AWAY_SHARE = 0.4;
/** By then it comes back, whatever became of the delete: others may need it. */
const AWAY_MS_MAX = 35_000;
/** Slots that a delete reaches back at most. */
const SLOTS_MAX = 8_000;

export class Deleter {
  readonly #cluster: SimCluster;
  readonly #ledger: Ledger;
  readonly #tally: Tally;
  #isRunning = true;
  /** An ingester is away for the delete: it is not done before that one is given up. */
  #isWaiting = false;

  constructor(cluster: SimCluster, ledger: Ledger, tally: Tally) {
    this.#cluster = cluster;
    this.#ledger = ledger;
    this.#tally = tally;
  }

  stop(): void {
    this.#isRunning = false;
  }

  /** Waits for its moment, then deletes. */
  async runOnce(withinMs: number): Promise<void> {
    const { world } = this.#cluster;
    const isAlone = !world.chance(AWAY_SHARE);
    await world.sleep(world.random() * withinMs);
    if (isAlone) await this.run();
    else await this.#runWithout(world.between(0, this.#cluster.of('ingester').length - 1));
  }

  /** Deletes while one of the ingesters is gone. */
  async #runWithout(index: number): Promise<void> {
    const cluster = this.#cluster;
    const node = cluster.of('ingester')[index]!;
    cluster.takeAway(node);
    this.#isWaiting = true;
    const deleting = this.run();
    await Promise.race([deleting, cluster.world.sleep(AWAY_MS_MAX)]);
    this.#isWaiting = false;
    cluster.bringBack(node);
    await deleting;
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
    if (this.#isWaiting) this.#tally.missed++;
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
    while (this.#isRunning || this.#isWaiting) {
      if ((await attempt()) === true) return true;
      await this.#cluster.world.sleep(RETRY_MS);
    }
    return false;
  }
}
