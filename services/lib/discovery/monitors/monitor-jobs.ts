// What monitors ask for as items of `scrape_configs`: the same that prometheus-operator makes of them, without its static sharding
// (targets are shared out among scrapers here), and with the values of secrets and certificates in place of files.
import { isJsonObject, type JsonObject } from '../json.ts';
import { addHttpSettings, secretOf } from './monitor-http.ts';
import {
  copy,
  inField,
  type JobContext,
  type MonitorObject,
  MonitorProblem,
  objectAt,
  objectsAt,
  type PlannedJob,
  type ScrapeJob,
  snakeCase,
  textAt,
  textsAt,
} from './monitor-object.ts';
import {
  addMetricRelabeling,
  DROP_ENDED_PODS,
  FIRST_GROUP,
  fromLabel,
  KEEP_JOB_NAME,
  labelSteps,
  relabelSteps,
  type Step,
  selectorSteps,
  selectorText,
} from './monitor-relabeling.ts';

const ENDPOINT_KEYS =
  'honorTimestamps:honor_timestamps trackTimestampsStaleness:track_timestamps_staleness interval:scrape_interval scrapeTimeout:scrape_timeout path:metrics_path params';
const LIMIT_KEYS =
  'sampleLimit:sample_limit targetLimit:target_limit labelLimit:label_limit labelNameLengthLimit:label_name_length_limit labelValueLengthLimit:label_value_length_limit keepDroppedTargets:keep_dropped_targets bodySizeLimit:body_size_limit scrapeProtocols:scrape_protocols fallbackScrapeProtocol:fallback_scrape_protocol scrapeNativeHistograms:scrape_native_histograms nativeHistogramBucketLimit:native_histogram_bucket_limit scrapeClassicHistograms:always_scrape_classic_histograms convertClassicHistogramsToNHCB:convert_classic_histograms_to_nhcb';

/** Scheme, host and path as groups of a regular expression: `${1}://${2}${3}`. */
const INGRESS_URL = '\u0024{1}://\u0024{2}\u0024{3}';

/** The jobs of one monitor. */
export function jobsOf(monitor: MonitorObject, context: JobContext): readonly PlannedJob[] {
  const { kind, namespace, name, spec } = monitor;
  const place = `${namespace}/${name}`;
  switch (kind) {
    case 'ServiceMonitor':
      return objectsAt(spec, 'endpoints').map((endpoint, i) => ({
        jobName: `serviceMonitor/${place}/${i}`,
        field: `endpoints[${i}]`,
        build: () => serviceJob(monitor, endpoint, `serviceMonitor/${place}/${i}`, context),
      }));
    case 'PodMonitor':
      return objectsAt(spec, 'podMetricsEndpoints').map((endpoint, i) => ({
        jobName: `podMonitor/${place}/${i}`,
        field: `podMetricsEndpoints[${i}]`,
        build: () => podJob(monitor, endpoint, `podMonitor/${place}/${i}`, context),
      }));
    case 'Probe': {
      const jobName = `probe/${place}`;
      return [{ jobName, field: '', build: () => probeJob(monitor, jobName, context) }];
    }
    case 'ScrapeConfig': {
      const jobName = `scrapeConfig/${place}`;
      return [{ jobName, field: '', build: () => scrapeConfigJob(monitor, jobName, context) }];
    }
  }
}

function serviceJob(
  monitor: MonitorObject,
  endpoint: JsonObject,
  jobName: string,
  context: JobContext,
): ScrapeJob {
  const { spec } = monitor;
  const named = textAt(spec, 'serviceDiscoveryRole').toLowerCase();
  const role = named === '' ? context.serviceRole : named;
  const job = endpointJob(jobName, endpoint, context);
  job.kubernetes_sd_configs = [discoveryOf(monitor, role, [role, 'service'])];
  const kind = role === 'endpointslice' ? 'endpointslice' : 'endpoint';
  const target = [
    `__meta_kubernetes_${kind}_address_target_kind`,
    `__meta_kubernetes_${kind}_address_target_name`,
  ];
  const behind = (what: string, label: string): Step => ({
    source_labels: target,
    separator: ';',
    regex: `${what};(.*)`,
    replacement: FIRST_GROUP,
    target_label: label,
  });
  const port = textAt(endpoint, 'port');
  const steps: Step[] = [KEEP_JOB_NAME, ...chosenBySelector(spec, 'service')];
  if (port !== '') steps.push(keepEqual(`__meta_kubernetes_${kind}_port_name`, port));
  else steps.push(...targetPortSteps(endpoint));
  steps.push(
    behind('Node', 'node'),
    behind('Pod', 'pod'),
    rename('__meta_kubernetes_namespace', 'namespace'),
    rename('__meta_kubernetes_service_name', 'service'),
    rename('__meta_kubernetes_pod_name', 'pod'),
    rename('__meta_kubernetes_pod_container_name', 'container'),
    ...(endpoint.filterRunning === false ? [] : [DROP_ENDED_PODS]),
    ...labelSteps(textsAt(spec, 'targetLabels'), 'service'),
    ...labelSteps(textsAt(spec, 'podTargetLabels'), 'pod'),
    { ...rename('__meta_kubernetes_service_name', 'job'), replacement: FIRST_GROUP },
    ...jobLabelSteps(spec, 'service'),
    ...endpointSteps(port === '' ? targetPortText(endpoint) : port),
    ...relabelSteps(endpoint, 'relabelings'),
  );
  return finish(job, spec, endpoint, steps);
}

function podJob(
  monitor: MonitorObject,
  endpoint: JsonObject,
  jobName: string,
  context: JobContext,
): ScrapeJob {
  const { spec } = monitor;
  const job = endpointJob(jobName, endpoint, context);
  job.kubernetes_sd_configs = [discoveryOf(monitor, 'pod', ['pod'])];
  const port = textAt(endpoint, 'port');
  const number = endpoint.portNumber;
  const steps: Step[] = [
    KEEP_JOB_NAME,
    ...(endpoint.filterRunning === false ? [] : [DROP_ENDED_PODS]),
    ...chosenBySelector(spec, 'pod'),
  ];
  if (port !== '') steps.push(keepEqual('__meta_kubernetes_pod_container_port_name', port));
  else if (typeof number === 'number' && number !== 0)
    steps.push(keepEqual('__meta_kubernetes_pod_container_port_number', number));
  else steps.push(...targetPortSteps(endpoint));
  steps.push(
    rename('__meta_kubernetes_namespace', 'namespace'),
    rename('__meta_kubernetes_pod_container_name', 'container'),
    rename('__meta_kubernetes_pod_name', 'pod'),
    ...labelSteps(textsAt(spec, 'podTargetLabels'), 'pod'),
    { target_label: 'job', replacement: `${monitor.namespace}/${monitor.name}` },
    ...jobLabelSteps(spec, 'pod'),
    ...endpointSteps(port === '' ? targetPortText(endpoint) : port),
    ...relabelSteps(endpoint, 'relabelings'),
  );
  return finish(job, spec, endpoint, steps);
}

function endpointJob(jobName: string, endpoint: JsonObject, context: JobContext): ScrapeJob {
  const job: ScrapeJob = { job_name: jobName, honor_labels: endpoint.honorLabels === true };
  copy(job, endpoint, ENDPOINT_KEYS);
  addScheme(job, endpoint);
  addHttpSettings(job, endpoint, context);
  return job;
}

function finish(job: ScrapeJob, spec: JsonObject, endpoint: JsonObject, steps: readonly Step[]): ScrapeJob {
  refuseScrapeClass(spec);
  job.relabel_configs = steps;
  addLimits(job, spec);
  addMetricRelabeling(job, endpoint);
  return job;
}

function probeJob({ namespace, spec }: MonitorObject, jobName: string, context: JobContext): ScrapeJob {
  refuseScrapeClass(spec);
  const prober = objectAt(spec, 'prober');
  const url = textAt(prober, 'url');
  if (url === '') throw new MonitorProblem('prober.url', 'is empty; name host and port of the prober');
  const job: ScrapeJob = {
    job_name: jobName,
    honor_timestamps: true,
    metrics_path: textAt(prober, 'path') || '/probe',
  };
  copy(job, spec, 'interval:scrape_interval scrapeTimeout:scrape_timeout');
  addScheme(job, prober);
  const module = textAt(spec, 'module');
  const params: Record<string, unknown> = module === '' ? {} : { module: [module] };
  for (const { name, values } of objectsAt(spec, 'params'))
    if (typeof name === 'string' && params[name] === undefined) params[name] = values ?? [];
  if (Object.keys(params).length > 0) job.params = params;
  addLimits(job, spec);
  addHttpSettings(job, { ...spec, ...proxyOf(prober) }, context);
  const jobSteps: Step[] =
    textAt(spec, 'jobName') === '' ? [] : [{ target_label: 'job', replacement: textAt(spec, 'jobName') }];
  const targets = objectAt(spec, 'targets');
  const own = isJsonObject(targets.staticConfig)
    ? staticTargets(job, targets.staticConfig, namespace, url)
    : ingressTargets(job, targets, namespace, url);
  job.relabel_configs = [KEEP_JOB_NAME, ...jobSteps, ...own];
  addMetricRelabeling(job, spec);
  return job;
}

function proxyOf(prober: JsonObject): JsonObject {
  const { proxyUrl, noProxy, proxyFromEnvironment, proxyConnectHeader } = prober;
  return { proxyUrl, noProxy, proxyFromEnvironment, proxyConnectHeader };
}

function staticTargets(job: ScrapeJob, config: JsonObject, namespace: string, url: string): readonly Step[] {
  job.static_configs = [
    { targets: textsAt(config, 'static'), labels: { namespace, ...objectAt(config, 'labels') } },
  ];
  return [
    rename('__address__', '__param_target'),
    rename('__param_target', 'instance'),
    { target_label: '__address__', replacement: url },
    ...relabelSteps(config, 'relabelingConfigs'),
  ];
}

function ingressTargets(
  job: ScrapeJob,
  targets: JsonObject,
  namespace: string,
  url: string,
): readonly Step[] {
  if (!isJsonObject(targets.ingress))
    throw new MonitorProblem('targets', 'has neither staticConfig nor ingress; add one of the two');
  const { ingress } = targets;
  job.kubernetes_sd_configs = [{ role: 'ingress', ...namespacesOf(ingress, namespace) }];
  return [
    ...selectorSteps(objectAt(ingress, 'selector'), 'ingress'),
    {
      source_labels: ['__meta_kubernetes_ingress_scheme', '__address__', '__meta_kubernetes_ingress_path'],
      separator: ';',
      regex: '(.+);(.+);(.+)',
      target_label: '__param_target',
      replacement: INGRESS_URL,
      action: 'replace',
    },
    rename('__meta_kubernetes_namespace', 'namespace'),
    rename('__meta_kubernetes_ingress_name', 'ingress'),
    {
      source_labels: ['__address__'],
      separator: ';',
      regex: '(.*)',
      target_label: '__tmp_ingress_address',
      replacement: '$1',
      action: 'replace',
    },
    rename('__param_target', 'instance'),
    { target_label: '__address__', replacement: url },
    ...relabelSteps(ingress, 'relabelingConfigs'),
  ];
}

/** Kinds of discovery of a ScrapeConfig that are run here. */
const DISCOVERY_KINDS: Readonly<Record<string, { readonly key: string; readonly fields: string }>> = {
  staticConfigs: { key: 'static_configs', fields: 'targets labels' },
  fileSDConfigs: { key: 'file_sd_configs', fields: 'files refreshInterval:refresh_interval' },
  httpSDConfigs: { key: 'http_sd_configs', fields: 'url refreshInterval:refresh_interval' },
  dnsSDConfigs: { key: 'dns_sd_configs', fields: 'names type port refreshInterval:refresh_interval' },
  consulSDConfigs: {
    key: 'consul_sd_configs',
    fields:
      'server pathPrefix:path_prefix datacenter namespace partition services tags tagSeparator:tag_separator nodeMeta:node_meta filter healthFilter:health_filter allowStale:allow_stale refreshInterval:refresh_interval',
  },
  kubernetesSDConfigs: { key: 'kubernetes_sd_configs', fields: 'apiServer:api_server namespaces' },
};

function scrapeConfigJob({ spec }: MonitorObject, jobName: string, context: JobContext): ScrapeJob {
  refuseScrapeClass(spec);
  const job: ScrapeJob = { job_name: jobName };
  copy(
    job,
    spec,
    'honorTimestamps:honor_timestamps trackTimestampsStaleness:track_timestamps_staleness honorLabels:honor_labels metricsPath:metrics_path params enableCompression:enable_compression scrapeInterval:scrape_interval scrapeTimeout:scrape_timeout',
  );
  addScheme(job, spec);
  addHttpSettings(job, spec, context);
  addLimits(job, spec);
  for (const field of Object.keys(spec).filter((key) => /(?:Static|static|SD)Configs$/.test(key))) {
    const items = objectsAt(spec, field);
    if (items.length === 0) continue;
    const kind = DISCOVERY_KINDS[field];
    if (kind === undefined)
      throw new MonitorProblem(
        field,
        `is not run by this version; use ${Object.keys(DISCOVERY_KINDS).join(', ')}`,
      );
    if (field === 'fileSDConfigs' && !context.allowsFiles)
      throw new MonitorProblem(
        field,
        'reads files, which tidemark.kubernetes_monitors.deny_file_access forbids',
      );
    job[kind.key] = items.map((item, i) =>
      inField(`${field}[${i}]`, () => discoveryItem(field, kind.fields, item, context)),
    );
  }
  const jobSteps: Step[] =
    textAt(spec, 'jobName') === ''
      ? []
      : [{ target_label: 'job', action: 'replace', replacement: textAt(spec, 'jobName') }];
  job.relabel_configs = [KEEP_JOB_NAME, ...jobSteps, ...relabelSteps(spec, 'relabelings')];
  addMetricRelabeling(job, spec);
  const naming = { legacy: 'legacy', utf8: 'utf8' }[textAt(spec, 'nameValidationScheme').toLowerCase()];
  if (naming !== undefined) job.metric_name_validation_scheme = naming;
  const escaping = { allowutf8: 'allow-utf-8', underscores: 'underscores', dots: 'dots', values: 'values' }[
    textAt(spec, 'nameEscapingScheme').toLowerCase()
  ];
  if (escaping !== undefined) job.metric_name_escaping_scheme = escaping;
  return job;
}

function discoveryItem(field: string, fields: string, item: JsonObject, context: JobContext): ScrapeJob {
  const config: ScrapeJob = {};
  copy(config, item, fields);
  if (field === 'staticConfigs' || field === 'fileSDConfigs' || field === 'dnsSDConfigs') return config;
  addHttpSettings(config, item, context);
  if (field === 'consulSDConfigs') {
    addScheme(config, item);
    if (isJsonObject(item.tokenRef)) config.token = secretOf('tokenRef', item.tokenRef, context);
  }
  if (field !== 'kubernetesSDConfigs') return config;
  config.role = textAt(item, 'role').toLowerCase();
  if (isJsonObject(item.namespaces)) {
    const namespaces: ScrapeJob = {};
    copy(namespaces, item.namespaces, 'names ownNamespace:own_namespace');
    config.namespaces = namespaces;
  }
  const selectors = objectsAt(item, 'selectors').map((selector) => {
    const own: ScrapeJob = { role: textAt(selector, 'role').toLowerCase() };
    copy(own, selector, 'label field');
    return own;
  });
  if (selectors.length > 0) config.selectors = selectors;
  if (isJsonObject(item.attachMetadata)) config.attach_metadata = snakeCased(item.attachMetadata);
  return config;
}

function snakeCased(of: JsonObject): ScrapeJob {
  return Object.fromEntries(Object.entries(of).map(([key, value]) => [snakeCase(key), value]));
}

function addScheme(job: ScrapeJob, of: JsonObject): void {
  const scheme = textAt(of, 'scheme').toLowerCase();
  if (scheme !== '') job.scheme = scheme;
}

function addLimits(job: ScrapeJob, spec: JsonObject): void {
  copy(job, spec, LIMIT_KEYS);
  const factor = spec.nativeHistogramMinBucketFactor;
  if (factor !== undefined && factor !== null) job.native_histogram_min_bucket_factor = quantityOf(factor);
}

/** A quantity of Kubernetes: a number, or one in thousandths. */
function quantityOf(value: unknown): number {
  const text = String(value);
  const number = text.endsWith('m') ? Number(text.slice(0, -1)) / 1000 : Number(text);
  if (Number.isFinite(number)) return number;
  throw new MonitorProblem(
    'nativeHistogramMinBucketFactor',
    `${JSON.stringify(text)} is not a number like 1.1 or 1100m`,
  );
}

function refuseScrapeClass(spec: JsonObject): void {
  const name = textAt(spec, 'scrapeClass');
  if (name !== '')
    throw new MonitorProblem(
      'scrapeClass',
      `${JSON.stringify(name)} is not known: there are no scrape classes here; remove it`,
    );
}

function discoveryOf(monitor: MonitorObject, role: string, selected: readonly string[]): ScrapeJob {
  const { spec, namespace } = monitor;
  const config: ScrapeJob = { role, ...namespacesOf(spec, namespace) };
  if (isJsonObject(spec.attachMetadata)) config.attach_metadata = { node: spec.attachMetadata.node === true };
  if (spec.selectorMechanism === 'RoleSelector') {
    const label = selectorText(objectAt(spec, 'selector'));
    config.selectors = selected.map((each) => ({ role: each, label }));
  }
  return config;
}

/** The monitor's own namespace, where it does not say otherwise. */
function namespacesOf(of: JsonObject, namespace: string): ScrapeJob {
  const selector = objectAt(of, 'namespaceSelector');
  if (selector.any === true) return {};
  const names = textsAt(selector, 'matchNames');
  return { namespaces: { names: names.length === 0 ? [namespace] : names } };
}

function chosenBySelector(spec: JsonObject, object: string): readonly Step[] {
  return spec.selectorMechanism === 'RoleSelector' ? [] : selectorSteps(objectAt(spec, 'selector'), object);
}

function keepEqual(label: string, value: string | number): Step {
  return { action: 'keep', source_labels: [label], regex: value };
}

function rename(label: string, targetLabel: string): Step {
  return { source_labels: [label], target_label: targetLabel };
}

function targetPortSteps({ targetPort }: JsonObject): readonly Step[] {
  if (typeof targetPort === 'string' && targetPort !== '')
    return [keepEqual('__meta_kubernetes_pod_container_port_name', targetPort)];
  if (typeof targetPort === 'number' && targetPort !== 0)
    return [keepEqual('__meta_kubernetes_pod_container_port_number', targetPort)];
  return [];
}

function targetPortText({ targetPort }: JsonObject): string {
  return typeof targetPort === 'string' || typeof targetPort === 'number' ? String(targetPort) : '';
}

function endpointSteps(port: string): readonly Step[] {
  return port === '' ? [] : [{ target_label: 'endpoint', replacement: port }];
}

function jobLabelSteps(spec: JsonObject, object: string): readonly Step[] {
  const label = textAt(spec, 'jobLabel');
  return label === '' ? [] : [fromLabel(label, object, 'job')];
}
