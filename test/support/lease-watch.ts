// Rule groups that say who evaluates them, and who holds their leases as NATS has it: for tests of two evaluators of which one has effect.
import path from 'node:path';
import { onTestFinished } from 'vitest';
import { groupKey } from '../../services/alert-evaluator/group-runner.ts';
import { ruleLeaseOf } from '../../services/alert-evaluator/rule-leases.ts';
import { systemClock } from '../../services/lib/core/clock.ts';
import { isOwner } from '../../services/lib/placement/shares.ts';
import { createSilentLogger } from '../../services/lib/runtime/logger.ts';
import { NatsControlPlane } from '../../services/lib/transport/nats/nats-control-plane.ts';
import { MEMBER_EXPIRY_MS } from './cluster.ts';

/** Text of a rule file for one evaluator: each group records `held`, and alerts `Held`, with the names of the group and of the evaluator, every second. */
export function rulesBy(instance: string, groups: readonly string[]): string {
  const group = (name: string): string => `
  - name: ${name}
    interval: 1s
    rules:
      - { record: held, expr: vector(1), labels: { group: ${name}, by: ${instance} } }
      - { alert: Held, expr: vector(1), labels: { group: ${name}, by: ${instance} } }`;
  return `groups:${groups.map(group).join('')}\n`;
}

/** A path in a folder for a rule file of groups of which each instance gets some: leases fall to holders by a hash of the path, too. */
export function sharedRulesFile(
  folder: string,
  groups: readonly string[],
  instances: readonly string[],
): string {
  for (let n = 0; ; n++) {
    const file = path.join(folder, `rules-${n}.yml`);
    const isShared = instances.every((instance) =>
      groups.some((group) => isOwner(instance, instances, ruleLeaseOf(groupKey(file, group)))),
    );
    if (isShared) return file;
  }
}

export interface LeaseWatch {
  /** Name of the lease that a group falls into; several may fall into one. */
  readonly leaseOf: (group: string) => string;
  /** Instance that holds a group's lease; empty when nobody does. */
  readonly holderOf: (group: string) => string;
  readonly heldBy: (instance: string) => string[];
}

/** Listens to the leases of groups of a file. It is no member. @param expiryMs  Of the members that it watches. */
export async function watchLeases(
  natsUrl: string,
  rulesFile: string,
  groups: readonly string[],
  expiryMs = MEMBER_EXPIRY_MS,
): Promise<LeaseWatch> {
  const plane = new NatsControlPlane(
    {
      ...{ servers: [natsUrl], clusterName: 'tidemark', bucketReplicas: 1, connection: {} },
      ...{ heartbeatMs: 500, expiryMs },
    },
    { clock: systemClock, logger: createSilentLogger() },
  );
  onTestFinished(() => plane.stop());
  await plane.start();
  const leaseOf = (group: string): string => ruleLeaseOf(groupKey(rulesFile, group));
  const holderOf = (group: string): string => plane.leaseView(leaseOf(group))?.holder.split('.').at(-1) ?? '';
  return {
    leaseOf,
    holderOf,
    heldBy: (instance) => groups.filter((group) => holderOf(group) === instance),
  };
}
