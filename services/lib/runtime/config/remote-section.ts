// `remote_write` and `remote_read`: checked as Prometheus checks them. Tidemark receives remote write; it does not send.
import { readSigV4 } from './alerting-section.ts';
import { readHttpClient, readPlainHeaders } from './http-client-section.ts';
import { readRelabelConfigs } from './relabel-section.ts';
import type { Section } from './section.ts';

const MESSAGES = ['prometheus.WriteRequest', 'io.prometheus.write.v2.Request'];

export function checkRemoteWrite(root: Section): void {
  const names = new Set<string>();
  for (const section of root.sections('remote_write')) {
    section.requiredText('url');
    section.url('url');
    section.choice('protobuf_message', MESSAGES);
    section.durationMs('remote_timeout');
    readPlainHeaders(section);
    readRelabelConfigs(section, 'write_relabel_configs', section.context.nameValidation);
    for (const key of ['send_exemplars', 'send_native_histograms', 'round_robin_dns']) section.flag(key);
    checkCredentials(section);
    checkQueue(section.section('queue_config'));
    checkMetadata(section.section('metadata_config'));
    checkUniqueName(section, names);
    section.finish();
  }
  if (root.items('remote_write').length > 0) {
    root.notice(
      'remote_write',
      'is checked but not run by this version; samples are stored here and sent nowhere',
    );
  }
}

export function checkRemoteRead(root: Section): void {
  const names = new Set<string>();
  for (const section of root.sections('remote_read')) {
    section.requiredText('url');
    section.url('url');
    section.durationMs('remote_timeout');
    readPlainHeaders(section);
    section.flag('read_recent');
    section.flag('filter_external_labels');
    section.labels('required_matchers');
    readHttpClient(section);
    checkUniqueName(section, names);
    section.finish();
  }
  if (root.items('remote_read').length > 0) {
    root.notice('remote_read', 'is checked but not run by this version; queries answer from the own store');
  }
}

function checkUniqueName(section: Section, names: Set<string>): void {
  const name = section.text('name');
  if (name === undefined || name === '') return;
  if (names.has(name))
    throw section.error('name', `${JSON.stringify(name)} is taken by an entry above; use another`);
  names.add(name);
}

function checkCredentials(section: Section): void {
  const http = readHttpClient(section);
  const own = [http.hasBasicAuth, http.hasAuthorization, http.hasBearerToken, http.hasOauth2].some(Boolean);
  const signed = readSigV4(section, own);
  const azure = section.section('azuread');
  const google = section.section('google_iam');
  if (azure !== undefined) checkAzure(azure);
  google?.file('credentials_file');
  google?.finish();
  if (azure !== undefined && (own || signed))
    throw section.error('azuread', 'stands beside other credentials; keep one');
  if (google !== undefined && (own || signed || azure !== undefined)) {
    throw section.error('google_iam', 'stands beside other credentials; keep one');
  }
}

function checkAzure(section: Section): void {
  section.choice('cloud', ['AzurePublic', 'AzureChina', 'AzureGovernment']);
  section.text('scope');
  const kinds = ['managed_identity', 'workload_identity', 'oauth', 'certificate', 'sdk'];
  const given = kinds.filter((kind) => section.has(kind));
  if (given.length !== 1)
    throw section.error(given[1] ?? 'managed_identity', `exactly one of ${kinds.join(', ')} must be given`);
  for (const kind of kinds) {
    const identity = section.section(kind);
    for (const key of [
      'client_id',
      'tenant_id',
      'token_file_path',
      'certificate_path',
      'certificate_key_path',
    ])
      identity?.text(key);
    identity?.secret('client_secret');
    identity?.secret('certificate_password');
    identity?.flag('send_certificate_chain');
    identity?.finish();
  }
  section.finish();
}

function checkQueue(section: Section | undefined): void {
  if (section === undefined) return;
  section.integer('capacity', 1);
  const maxShards = section.integer('max_shards', 1) ?? 50;
  const minShards = section.integer('min_shards', 1) ?? 1;
  section.integer('max_samples_per_send', 1);
  section.durationMs('batch_send_deadline');
  const minBackoffMs = section.durationMs('min_backoff') ?? 30;
  const maxBackoffMs = section.durationMs('max_backoff') ?? 5000;
  section.flag('retry_on_http_429');
  section.durationMs('sample_age_limit');
  if (minShards > maxShards)
    throw section.error('min_shards', `${minShards} is greater than max_shards ${maxShards}`);
  if (maxBackoffMs < minBackoffMs) {
    throw section.error(
      'max_backoff',
      `${maxBackoffMs} ms is shorter than min_backoff of ${minBackoffMs} ms`,
    );
  }
  section.finish();
}

function checkMetadata(section: Section | undefined): void {
  section?.flag('send');
  section?.durationMs('send_interval');
  section?.integer('max_samples_per_send');
  section?.integer('max_retries');
  section?.finish();
}
