// `tidemark.kubernetes_monitors`: custom resources of a Kubernetes cluster that say what to scrape.
import type { MonitorsConfig } from './discovery-config.ts';
import { readHttpClient } from './http-client-section.ts';
import type { Section } from './section.ts';

/** Undefined where the file has no such section: no monitors are read then. */
export function readMonitors(section: Section | undefined): MonitorsConfig | undefined {
  if (section === undefined) return undefined;
  const http = readHttpClient(section);
  const apiServer = section.url('api_server', { schemes: ['http', 'https'] }) || undefined;
  const kubeconfigFile = section.file('kubeconfig_file');
  if (apiServer !== undefined && kubeconfigFile !== undefined)
    throw section.error('kubeconfig_file', 'stands beside api_server; keep one');
  if (apiServer === undefined && http.isCustom)
    throw section.error('api_server', 'is needed where settings of the HTTP client stand');
  const config: MonitorsConfig = {
    apiServer,
    kubeconfigFile,
    http: http.config,
    namespaces: section.texts('namespaces'),
    namespaceSelector: section.text('namespace_selector') ?? '',
    serviceMonitors: readKind(section, 'service_monitors'),
    podMonitors: readKind(section, 'pod_monitors'),
    probes: readKind(section, 'probes'),
    scrapeConfigs: readKind(section, 'scrape_configs'),
    serviceRole: section.choice('service_discovery_role', ['endpoints', 'endpointslice']) ?? 'endpoints',
    deniesFiles: section.flag('deny_file_access') ?? false,
  };
  section.finish();
  return config;
}

/** The selector of a kind: all of them where nothing is said. */
function readKind(section: Section, key: string): string | undefined {
  const own = section.section(key);
  if (own === undefined) return '';
  const isEnabled = own.flag('enabled') ?? true;
  const selector = own.text('selector') ?? '';
  own.finish();
  return isEnabled ? selector : undefined;
}
