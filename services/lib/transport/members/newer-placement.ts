// Whether others know a newer placement than this process. One that is cut off from the control plane goes on with the members and the placement
// that it knows: while the control plane is down that is all there is. But when only this process is cut off, partitions and blocks may
// have moved meanwhile, to nodes of which nothing is known here, and then those that are known are no proof of anything.
import type { Clock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { DEFAULT_TENANT } from '../../model/tenant.ts';
import type { Cluster } from '../cluster.ts';

/** Nodes that are there answer within this. */
const ANSWER_MS = 500;
/** What was found holds for so long: far less than blocks and samples stay where they were. */
const FRESH_MS = 2_000;

/** One a process: what is found is used by all that ask meanwhile, so that a node that hangs holds up few of them. */
export class NewerPlacement {
  readonly #cluster: Pick<Cluster, 'isCurrent' | 'placement' | 'rangeVersions'>;
  readonly #clock: Clock;
  #found: { readonly atMs: number; readonly what: string | undefined } | undefined;
  #asking: Promise<string | undefined> | undefined;

  constructor(cluster: Pick<Cluster, 'isCurrent' | 'placement' | 'rangeVersions'>, clock: Clock) {
    this.#cluster = cluster;
    this.#clock = clock;
  }

  /**
   * Asks all ingesters and stores that are known, where the control plane is out of reach; else there is nothing to ask.
   *
   * @returns What is newer, for people; undefined when nobody who answered knows better. Never rejects.
   */
  async find(): Promise<string | undefined> {
    if (this.#cluster.isCurrent?.() !== false) {
      this.#found = undefined;
      return undefined;
    }
    const found = this.#found;
    const ageMs = this.#clock.monotonicMs() - (found?.atMs ?? Number.NEGATIVE_INFINITY);
    if (found !== undefined && ageMs <= FRESH_MS) {
      if (ageMs > FRESH_MS / 2) void this.#ask();
      return found.what;
    }
    return await this.#ask();
  }

  #ask(): Promise<string | undefined> {
    this.#asking ??= this.#askAll().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #askAll(): Promise<string | undefined> {
    const cluster = this.#cluster;
    const over = new AbortController();
    const limit = this.#clock.sleep(ANSWER_MS, over.signal).then(
      () => over.abort(new AppError('timeout', `no answer within ${ANSWER_MS} ms`)),
      () => undefined,
    );
    const request = { tenant: DEFAULT_TENANT, minTimesMs: [], maxTimesMs: [] };
    const answers = await Promise.all(
      (cluster.rangeVersions?.() ?? []).map(async ({ kind, instance, client }) => {
        const call = client.versions(request, { signal: over.signal });
        const { epoch } = await call.catch(() => ({ epoch: 0 }));
        return { epoch, name: `${kind} ${instance}` };
      }),
    );
    over.abort();
    await limit;
    // As it is now: it may have come meanwhile.
    const own = cluster.placement()?.epoch ?? 0;
    const newest = answers.reduce((best, each) => (each.epoch > best.epoch ? each : best), {
      ...{ epoch: own, name: '' },
    });
    const what =
      newest.epoch <= own
        ? undefined
        : `the control plane is out of reach here, and ${newest.name} knows placement ${newest.epoch}, this process ${own}: ` +
          'samples may be on nodes that are not known here';
    this.#found = { atMs: this.#clock.monotonicMs(), what };
    return what;
  }
}
