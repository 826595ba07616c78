// One relabelling step as configured.
import type { CompiledRegex } from '../model/matcher.ts';

export type RelabelAction =
  | 'replace'
  | 'keep'
  | 'drop'
  | 'keepequal'
  | 'dropequal'
  | 'hashmod'
  | 'labelmap'
  | 'labeldrop'
  | 'labelkeep'
  | 'lowercase'
  | 'uppercase';

/** A checked step with Prometheus' defaults filled in. */
export interface RelabelConfig {
  readonly action: RelabelAction;
  readonly sourceLabels: readonly string[];
  /** Default `;`. */
  readonly separator: string;
  /** Source of the anchored RE2 expression; default `(.*)`. */
  readonly regex: string;
  /** hashmod: > 0. */
  readonly modulus: number;
  readonly targetLabel: string;
  /** Default `$1`. */
  readonly replacement: string;
}

/** Says whether a label name matches; for labelmap, labeldrop, labelkeep. */
export type NamePredicate = CompiledRegex['matches'];
