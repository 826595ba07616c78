// Several scrapers that share one discovery: who asks, who follows, and what stays when the one who asked is gone.
import { Registry } from 'prom-client';
import { describe, expect, onTestFinished, test } from 'vitest';
import { waitFor } from '../../../test/support/programs.ts';
import { systemClock } from '../../lib/core/clock.ts';
import type { GroupSource, GroupSourceDeps } from '../../lib/discovery/group-source.ts';
import { Labels } from '../../lib/model/labels.ts';
import type { AskedDiscoveryConfig, TargetGroup } from '../../lib/runtime/config/discovery-config.ts';
import { createSilentLogger } from '../../lib/runtime/logger.ts';
import type { DiscoverUpdate } from '../../lib/wire/contracts.ts';
import { SharedDiscovery } from './shared-discovery.ts';
import { fromWireGroup, updatesOf } from './shared-groups.ts';
import { SharedItem } from './shared-item.ts';

const ITEM: AskedDiscoveryConfig = { kind: 'dns', names: ['a'], type: 'A', port: 1, refreshIntervalMs: 1 };

function group(source: string, ...targets: readonly string[]): TargetGroup {
  return {
    source,
    labels: Labels.from([['__meta_source', source]]),
    targets,
    targetLabels: targets.map((target) => Labels.from([['__meta_target', `${target} ü`]])),
  };
}

/** What the discovered servers say, to whoever asks. */
class World {
  groups: readonly TargetGroup[] = [];
  problems: readonly string[] = [];
  holder: Scraper | undefined;
  readonly scrapers: Scraper[] = [];
  readonly asking = new Set<Scraper>();
  readonly #listeners = new Set<() => void>();

  set(groups: readonly TargetGroup[], problems: readonly string[] = []): void {
    this.groups = groups;
    this.problems = problems;
    for (const listener of this.#listeners) listener();
  }

  local(scraper: Scraper, deps: GroupSourceDeps): GroupSource {
    // A source that fails from its start has found nothing.
    let own: readonly TargetGroup[] = [];
    const read = (): void => {
      if (this.problems.length === 0) own = this.groups;
    };
    const listener = (): void => {
      read();
      deps.onChange();
    };
    return {
      start: () => {
        this.asking.add(scraper);
        this.#listeners.add(listener);
        read();
        return Promise.resolve();
      },
      groups: () => own,
      problems: () => this.problems,
      stop: () => {
        this.asking.delete(scraper);
        this.#listeners.delete(listener);
        return Promise.resolve();
      },
    };
  }
}

class Scraper {
  readonly shared: SharedDiscovery;
  readonly registry = new Registry();
  readonly source: GroupSource;
  isAlive = true;
  changes = 0;

  constructor(world: World, item: AskedDiscoveryConfig = ITEM) {
    const environment = { clock: systemClock, logger: createSilentLogger(), registry: this.registry };
    this.shared = new SharedDiscovery({
      ...environment,
      aloneAfterMs: 1_500,
      acquireMs: 200,
      tryAcquire: async (name) => {
        if (world.holder !== undefined || !this.isAlive) return undefined;
        world.holder = this;
        const isHeld = (): boolean => world.holder === this;
        const release = async (): Promise<void> => {
          if (isHeld()) world.holder = undefined;
        };
        const heldForMs = (): number => (isHeld() ? 1_000 : 0);
        return { name, token: 1, isHeld, heldForMs, raise: () => Promise.resolve(false), release };
      },
      others: () =>
        world.scrapers
          .filter((other) => other !== this && other.isAlive)
          .map((other) => (request, context) => alive(other, other.shared.discover(request, context))),
    });
    const deps = { ...environment, onChange: () => this.changes++, onError: () => {} };
    this.source = this.shared.share(item, deps, (own) => world.local(this, own));
    world.scrapers.push(this);
  }

  get targets(): string {
    return this.source
      .groups()
      .flatMap(({ targets }) => [...targets])
      .toSorted()
      .join(' ');
  }

  async start(): Promise<void> {
    this.shared.start();
    await this.source.start();
    onTestFinished(async () => {
      await this.source.stop();
      await this.shared.stop();
    });
  }
}

/** A killed process sends nothing more, and does not say so. */
async function* alive(
  scraper: Scraper,
  updates: AsyncIterable<DiscoverUpdate>,
): AsyncGenerator<DiscoverUpdate> {
  for await (const update of updates) {
    if (!scraper.isAlive) await new Promise(() => {});
    yield update;
  }
}

async function startThree(world: World): Promise<[Scraper, Scraper, Scraper]> {
  const scrapers: [Scraper, Scraper, Scraper] = [new Scraper(world), new Scraper(world), new Scraper(world)];
  for (const scraper of scrapers) await scraper.start();
  return scrapers;
}

const all = (scrapers: readonly Scraper[], targets: string): Promise<unknown> =>
  waitFor(
    `targets ${targets} everywhere`,
    async () => scrapers.every((scraper) => scraper.targets === targets),
    {
      describe: () => scrapers.map((scraper) => `[${scraper.targets}]`).join(' '),
    },
  );

describe('one discovers, the others follow', () => {
  test('changes, removals and problems arrive everywhere, labels included', async () => {
    const world = new World();
    world.set([group('one', 'a:1', 'b:2'), group('two', 'c:3')]);
    const scrapers = await startThree(world);
    await all(scrapers, 'a:1 b:2 c:3');
    expect([...world.asking]).toEqual([scrapers[0]]);
    const follower = scrapers[1].source.groups().find(({ source }) => source === 'one')!;
    expect(follower).toEqual(group('one', 'a:1', 'b:2'));

    const kept = world.groups[0]!;
    world.set([kept, group('three', 'd:4')]);
    await all(scrapers, 'a:1 b:2 d:4');
    // What did not change is the same object: nothing is relabelled again.
    expect(scrapers[1].source.groups().find(({ source }) => source === 'one')).toBe(follower);
    world.set(world.groups, ['list of pods: forbidden (403)']);
    await waitFor('the problem', async () => scrapers.every(({ source }) => source.problems().length === 1));
    expect(scrapers[2].targets).toBe('a:1 b:2 d:4');
    world.set([]);
    await all(scrapers, '');
    expect(await scrapers[2].registry.metrics()).toContain(
      'tidemark_scraper_discovery_items{source="there"} 1',
    );
    expect(await scrapers[0].registry.metrics()).toContain('tidemark_scraper_discovery_lease 1');
  });

  test('a holder that was stopped and replaced is not followed when it wakes up, unless nobody else is heard', async () => {
    let token = 5;
    let asked = 0;
    const item = new SharedItem(
      {
        ...{ clock: systemClock, logger: createSilentLogger(), aloneAfterMs: 1_200, onSource: () => {} },
        ...{ isHolder: () => false, token: () => 0 },
        askOthers: () => [
          async function* () {
            asked++;
            for (const update of updatesOf(new Map(), new Map([['s', group('s', `of-${token}:1`)]]), []))
              yield { ...update, token };
          },
        ],
      },
      () => {
        throw new Error('it has somebody to follow');
      },
    );
    onTestFinished(() => item.stop());
    item.start();
    const follows = (target: string) =>
      waitFor(`it follows ${target}`, async () => item.groups[0]?.targets[0] === target);
    await follows('of-5:1');
    token = 3;
    const before = asked;
    await waitFor('it was asked again', async () => asked > before);
    expect(item.groups[0]?.targets).toEqual(['of-5:1']);
    token = 6;
    await follows('of-6:1');
    // NATS was emptied: tokens begin anew, and whoever had the greater one is gone.
    token = 1;
    await follows('of-1:1');
  });

  test('a holder that leaves hands over; targets never vanish', async () => {
    const world = new World();
    world.set([group('one', 'a:1')]);
    const scrapers = await startThree(world);
    await all(scrapers, 'a:1');
    const [first, ...rest] = scrapers;
    const seen = new Set<string>();
    const watching = setInterval(() => {
      for (const scraper of rest) seen.add(scraper.targets);
    }, 5);
    await first.source.stop();
    await first.shared.stop();
    await waitFor('the next holder', async () => world.holder !== undefined && world.holder !== first);
    world.set([group('one', 'a:1'), group('two', 'b:2')]);
    await all(rest, 'a:1 b:2');
    clearInterval(watching);
    expect([...seen].filter((targets) => targets === '')).toEqual([]);
    expect(world.asking.size).toBe(1);
  });

  test('one that takes over while the servers are away keeps what was found last', async () => {
    const world = new World();
    world.set([group('one', 'a:1')]);
    const scrapers = await startThree(world);
    await all(scrapers, 'a:1');
    const [first, ...rest] = scrapers;
    world.set(world.groups, ['the API server is away']);
    first.isAlive = false;
    world.holder = undefined;
    await waitFor('the next holder', async () => world.holder !== undefined);
    await waitFor('its attempt', async () => [...world.asking].some((scraper) => scraper !== first));
    await waitFor('the problem', async () => world.holder!.source.problems().length === 1);
    for (const scraper of rest) expect(scraper.targets).toBe('a:1');
    world.set([group('one', 'a:9')]);
    await all(rest, 'a:9');
  });

  test('one with another configuration, and one whose others are away, discovers by itself', async () => {
    const world = new World();
    world.set([group('one', 'a:1')]);
    const [holder] = await startThree(world);
    const other = new Scraper(world, { ...ITEM, port: 2 });
    await other.start();
    await waitFor('its own discovery', async () => world.asking.has(other), { timeoutMs: 25_000 });
    await all([other], 'a:1');
    expect(world.asking.has(holder)).toBe(true);
  });
});

test('large changes travel in several messages, which are taken over together', () => {
  const many = new Map(
    Array.from({ length: 3_000 }, (_, i) => {
      const one = group(`pod/${i}`, ...Array.from({ length: 10 }, (_, k) => `10.0.0.${k}:${i}`));
      return [one.source, one] as const;
    }),
  );
  const updates = [...updatesOf(new Map(), many, ['p'])];
  expect(updates.length).toBeGreaterThan(1);
  expect(updates.map(({ isLast }) => isLast).indexOf(true)).toBe(updates.length - 1);
  expect(updates.at(-1)!.problems).toEqual(['p']);
  const received = updates.flatMap(({ groups }) => groups.map(fromWireGroup));
  const print = (groups: Iterable<TargetGroup>): string =>
    JSON.stringify(
      [...groups].map(({ source, labels, targets, targetLabels }) => [
        source,
        labels.pairs,
        targets,
        targetLabels!.map(({ pairs }) => pairs),
      ]),
    );
  expect(print(received)).toBe(print(many.values()));
  const [change] = [...updatesOf(many, new Map([...many].slice(1)), [])];
  expect(change).toEqual({ groups: [], gone: ['pod/0'], problems: [], isLast: true });
});
