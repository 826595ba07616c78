// A custom resource that says what to scrape, read with care: ServiceMonitor, PodMonitor, Probe or ScrapeConfig. What is wrong in it is
// told with its name, the field and a remedy, and concerns that object only.
import { AppError } from '../../core/errors.ts';
import { isJsonObject, type JsonObject } from '../json.ts';

export type MonitorKind = 'ServiceMonitor' | 'PodMonitor' | 'Probe' | 'ScrapeConfig';

export interface MonitorObject {
  readonly kind: MonitorKind;
  readonly namespace: string;
  readonly name: string;
  readonly spec: JsonObject;
}

/** One item of `scrape_configs`, as it would stand in a prometheus.yml. */
export type ScrapeJob = Record<string, unknown>;

/** A job that a monitor asks for; `build` throws when it cannot be made. */
export interface PlannedJob {
  readonly jobName: string;
  /** Field of the monitor that asks for it; empty: all of it. */
  readonly field: string;
  readonly build: () => ScrapeJob;
}

/** Secrets and config maps. */
export interface References {
  /**
   * The value of a key.
   *
   * @throws MonitorProblem when there is none; PendingReference while the object is being fetched.
   */
  read(kind: 'Secret' | 'ConfigMap', namespace: string, name: string, key: string): string;
}

/** What jobs are made with. */
export interface JobContext {
  readonly namespace: string;
  readonly references: References;
  /** Role of ServiceMonitors that name none. */
  readonly serviceRole: 'endpoints' | 'endpointslice';
  /** Monitors may name files of this process: tokens, certificates, target files. */
  readonly allowsFiles: boolean;
}

/** A field that cannot be used: the message begins with its path. */
export class MonitorProblem extends AppError {
  constructor(field: string, what: string) {
    super('bad_data', `${field}: ${what}`);
    this.name = 'MonitorProblem';
  }
}

/** Something that is referred to is not known yet. */
export class PendingReference extends AppError {
  constructor(what: string) {
    super('unavailable', `${what} is being fetched`);
    this.name = 'PendingReference';
  }
}

/** The object at a key, or an empty one. */
export function objectAt(of: JsonObject, key: string): JsonObject {
  const value = of[key];
  return isJsonObject(value) ? value : {};
}

export function objectsAt(of: JsonObject, key: string): readonly JsonObject[] {
  const value = of[key];
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

export function textsAt(of: JsonObject, key: string): readonly string[] {
  const value = of[key];
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [];
}

export function textAt(of: JsonObject, key: string): string {
  const value = of[key];
  return typeof value === 'string' ? value : '';
}

/** Copies what is there: `from` names of the resource, `to` names of prometheus.yml, as `from:to` pairs or one name for both. */
export function copy(job: ScrapeJob, of: JsonObject, pairs: string): void {
  for (const pair of pairs.split(' ')) {
    const [from, to] = pair.split(':');
    const value = of[from!];
    if (value !== undefined && value !== null && value !== '') job[to ?? from!] = value;
  }
}

/** `${from}` in camel case as a key of prometheus.yml. */
export function snakeCase(name: string): string {
  return name.replace(/[A-Z]+/g, (capitals) => `_${capitals.toLowerCase()}`);
}

/** Tells errors of `attempt` as those of a field. */
export function inField<T>(field: string, attempt: () => T): T {
  try {
    return attempt();
  } catch (caught) {
    if (!(caught instanceof MonitorProblem)) throw caught;
    throw new MonitorProblem(
      `${field}.${caught.message.slice(0, caught.message.indexOf(': '))}`,
      caught.message.slice(caught.message.indexOf(': ') + 2),
    );
  }
}
