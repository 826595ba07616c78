// A `kubernetes_sd_configs` item.
import type { KubernetesRole, KubernetesSdConfig, KubernetesSelector } from './discovery-config.ts';
import type { HttpClientConfig } from './http-client-config.ts';
import type { HttpClientSection } from './http-client-section.ts';
import type { Section } from './section.ts';

/** Role → roles whose objects may be selected. */
const SELECTABLE: Readonly<Record<KubernetesRole, readonly string[]>> = {
  pod: ['pod', 'node'],
  service: ['service'],
  endpoints: ['pod', 'service', 'endpoints'],
  endpointslice: ['pod', 'service', 'endpointslice'],
  node: ['node'],
  ingress: ['ingress'],
};

export const KUBERNETES_ROLES = Object.keys(SELECTABLE) as readonly KubernetesRole[];
const ATTACHED = ['node', 'namespace', 'deployment', 'job', 'cronjob'] as const;

/** Of a section that was checked. */
export function buildKubernetes(section: Section, http: HttpClientConfig): KubernetesSdConfig {
  const namespaces = section.section('namespaces');
  const attach = section.section('attach_metadata');
  const attached = (key: (typeof ATTACHED)[number]): boolean => attach?.flag(key) ?? false;
  return {
    kind: 'kubernetes',
    role: section.text('role') as KubernetesRole,
    apiServer: section.text('api_server') || undefined,
    kubeconfigFile: section.file('kubeconfig_file'),
    http,
    namespaces: namespaces?.texts('names') ?? [],
    ownNamespace: namespaces?.flag('own_namespace') ?? false,
    selectors: section.sections('selectors').map(
      (selector): KubernetesSelector => ({
        role: selector.requiredText('role') as KubernetesRole,
        label: selector.text('label') ?? '',
        field: selector.text('field') ?? '',
      }),
    ),
    attach: {
      node: attached('node'),
      namespace: attached('namespace'),
      deployment: attached('deployment'),
      job: attached('job'),
      cronjob: attached('cronjob'),
    },
  };
}

/** Rules that span keys, as Prometheus has them. */
export function checkKubernetes(section: Section, http: HttpClientSection | undefined): void {
  const hasServer = (section.text('api_server') ?? '') !== '';
  const hasKubeconfig = (section.text('kubeconfig_file') ?? '') !== '';
  if (hasServer && hasKubeconfig)
    throw section.error('kubeconfig_file', 'stands beside api_server; keep one');
  if (hasKubeconfig && http?.isCustom) {
    throw section.error(
      'kubeconfig_file',
      'stands beside settings of the HTTP client, which the kubeconfig holds; keep one',
    );
  }
  if (!hasServer && !hasKubeconfig && http?.isCustom) {
    throw section.error('role', 'settings of the HTTP client need api_server as well');
  }
  const namespaces = section.section('namespaces');
  if (namespaces?.flag('own_namespace') && (hasServer || hasKubeconfig)) {
    throw namespaces.error(
      'own_namespace',
      `needs a pod's own cluster, and stands beside ${hasServer ? 'api_server' : 'kubeconfig_file'}; write names instead`,
    );
  }
  namespaces?.texts('names');
  namespaces?.finish();
  const attach = section.section('attach_metadata');
  for (const key of ATTACHED) attach?.flag(key);
  attach?.finish();
  checkSelectors(section, section.text('role') ?? '');
}

function checkSelectors(section: Section, role: string): void {
  const allowed = SELECTABLE[role as KubernetesRole] ?? [];
  const seen = new Set<string>();
  for (const selector of section.sections('selectors')) {
    const own = selector.requiredText('role');
    if (!allowed.includes(own)) {
      throw selector.error(
        'role',
        `${JSON.stringify(own)} cannot select for role ${role}; use ${allowed.join(', ')}`,
      );
    }
    if (seen.has(own))
      throw selector.error('role', `${JSON.stringify(own)} has a selector already; join the two`);
    seen.add(own);
    const field = selector.text('field') ?? '';
    selector.text('label');
    selector.finish();
    for (const term of field.split(',').filter((part) => part !== '')) {
      if (!/^[^=!]+(?:==?|!=)[^=!]*$/.test(term)) {
        throw selector.error(
          'field',
          `${JSON.stringify(term)} is not a field selector; write key=value or key!=value`,
        );
      }
    }
  }
}
