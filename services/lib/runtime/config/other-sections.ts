// The sections of prometheus.yml that configure what Tidemark has flags of its own for, or what a later version runs:
// runtime, storage, otlp, tracing.
import { readPlainHeaders, readTls } from './http-client-section.ts';
import type { Section } from './section.ts';

export function checkRuntime(section: Section | undefined): void {
  if (section === undefined) return;
  if (section.integer('gogc') !== undefined)
    section.notice('gogc', 'has no effect: this is not a Go program');
  section.finish();
}

export function checkStorage(section: Section | undefined): void {
  if (section === undefined) return;
  const tsdb = section.section('tsdb');
  if (tsdb !== undefined) checkTsdb(tsdb);
  const exemplars = section.section('exemplars');
  exemplars?.integer('max_exemplars');
  exemplars?.finish();
  section.finish();
}

function checkTsdb(section: Section): void {
  if (section.durationMs('out_of_order_time_window') !== undefined) {
    section.notice(
      'out_of_order_time_window',
      'has no effect: late samples are accepted as --ingest.out-of-order-window says',
    );
  }
  section.number('stale_series_compaction_threshold');
  const encoding = section.section('chunk_encoding');
  encoding?.choice('floats', ['xor', 'xor2']);
  encoding?.finish();
  const retention = section.section('retention');
  if (retention !== undefined) {
    retention.durationMs('time');
    retention.bytes('size');
    const percentage = retention.number('percentage');
    if (percentage !== undefined && (percentage < 0 || percentage > 100)) {
      throw retention.error('percentage', `${percentage} is not between 0 and 100`);
    }
    retention.finish();
    section.notice('retention', 'has no effect in this version: use --storage.tsdb.retention.time and .size');
  }
  section.finish();
}

const STRATEGIES = [
  'UnderscoreEscapingWithSuffixes',
  'UnderscoreEscapingWithoutSuffixes',
  'NoUTF8EscapingWithSuffixes',
  'NoTranslation',
] as const;

export function checkOtlp(section: Section | undefined): void {
  if (section === undefined) return;
  const promoteAll = section.flag('promote_all_resource_attributes') ?? false;
  const promoted = checkAttributes(section, 'promote_resource_attributes');
  const ignored = checkAttributes(section, 'ignore_resource_attributes');
  if (promoteAll && promoted > 0) {
    throw section.error(
      'promote_resource_attributes',
      'stands beside promote_all_resource_attributes; keep one',
    );
  }
  if (!promoteAll && ignored > 0) {
    throw section.error('ignore_resource_attributes', 'needs promote_all_resource_attributes: true as well');
  }
  const strategy = section.choice('translation_strategy', STRATEGIES);
  if (
    section.context.nameValidation === 'legacy' &&
    (strategy === 'NoTranslation' || strategy === 'NoUTF8EscapingWithSuffixes')
  ) {
    throw section.error(
      'translation_strategy',
      `${strategy} contradicts metric_name_validation_scheme legacy; use an underscore strategy`,
    );
  }
  for (const key of [
    'keep_identifying_resource_attributes',
    'convert_histograms_to_nhcb',
    'promote_scope_metadata',
    'label_name_underscore_sanitization',
    'label_name_preserve_multiple_underscores',
  ]) {
    section.flag(key);
  }
  section.finish();
  section.notice('', 'is checked but not run by this version, which takes no OTLP');
}

/** Checks a list of attribute names; how many there are. */
function checkAttributes(section: Section, key: string): number {
  const seen = new Set<string>();
  for (const attribute of section.texts(key)) {
    const name = attribute.trim();
    if (name === '') throw section.error(key, 'contains an empty attribute; remove it');
    if (seen.has(name)) throw section.error(key, `contains ${JSON.stringify(name)} twice; remove one`);
    seen.add(name);
  }
  return seen.size;
}

export function checkTracing(section: Section | undefined): void {
  if (section === undefined) return;
  section.choice('client_type', ['grpc', 'http']);
  section.requiredText('endpoint');
  const fraction = section.number('sampling_fraction') ?? 0;
  if (fraction < 0 || fraction > 1)
    throw section.error('sampling_fraction', `${fraction} is not between 0 and 1`);
  section.flag('insecure');
  readPlainHeaders(section);
  section.choice('compression', ['', 'gzip']);
  section.durationMs('timeout');
  readTls(section.section('tls_config'));
  section.finish();
  section.notice('', 'is checked but not run by this version; no traces are sent');
}
