// Queries that were parsed lately: dashboards and rules ask the same texts again and again, at other times.
import type { Expr } from '../promql/ast.ts';
import type { PromqlFeatures } from '../promql/features.ts';
import { namesOfFeatures } from './feature-list.ts';
import { parseForCluster } from './part-plan.ts';

/** Longer texts are parsed each time: few ask them, and their trees are large. */
const LENGTH_MAX = 2000;
/** Characters of all texts together; a tree takes some twenty bytes for each. */
const CHARACTERS_MAX = 256 * 1024;

export class ParsedQueries {
  /** By text and what else a tree depends on; whatever was asked for last is last. */
  readonly #known = new Map<string, Expr>();
  /** Invariant: the sum of the keys' lengths. */
  #characters = 0;

  /**
   * As parseForCluster(); whoever asks for the same again gets the same tree. It is read only.
   *
   * @throws AppError `bad_data` in Prometheus' words.
   */
  parse(query: string, features: PromqlFeatures, replicaLabels: readonly string[]): Expr {
    if (query.length > LENGTH_MAX) return parseForCluster(query, features, replicaLabels);
    const key = JSON.stringify([query, replicaLabels, namesOfFeatures(features)]);
    const known = this.#known.get(key);
    const expr = known ?? parseForCluster(query, features, replicaLabels);
    if (known === undefined) this.#makeRoom(key.length);
    else this.#known.delete(key);
    this.#known.set(key, expr);
    return expr;
  }

  /** For a key that is about to be added. */
  #makeRoom(characters: number): void {
    this.#characters += characters;
    for (const key of this.#known.keys()) {
      if (this.#characters <= CHARACTERS_MAX) return;
      this.#known.delete(key);
      this.#characters -= key.length;
    }
  }
}
