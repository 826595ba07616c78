// What one item of service discovery is to the section that it stands in.
import type { Clock } from '../core/clock.ts';
import type { TargetGroup } from '../runtime/config/discovery-config.ts';
import type { Logger } from '../runtime/logger.ts';

/** Target groups that change over time. */
export interface GroupSource {
  /** Resolves once the first groups are known, or it is clear that they are not to be had soon. */
  start(): Promise<void>;
  groups(): readonly TargetGroup[];
  /** What does not work at the moment, a sentence each; what `groups` gives is then of earlier. */
  problems(): readonly string[];
  stop(): Promise<void>;
}

export interface GroupSourceDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called after groups changed. */
  readonly onChange: () => void;
  /** Called for each attempt that failed. */
  readonly onError: () => void;
}
