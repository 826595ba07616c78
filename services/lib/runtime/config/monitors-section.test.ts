import { describe, expect, test } from 'vitest';
import { loadConfig } from './load-config.ts';

const load = (keys: string) =>
  loadConfig(`tidemark: {kubernetes_monitors: ${keys}}`, '/etc/tidemark').monitors;

describe('tidemark.kubernetes_monitors', () => {
  test('absent: no monitors are read; empty: all of them, as a pod reaches its cluster', () => {
    expect(loadConfig('', '/').monitors).toBeUndefined();
    expect(load('{}')).toMatchObject({
      apiServer: undefined,
      kubeconfigFile: undefined,
      namespaces: [],
      namespaceSelector: '',
      serviceMonitors: '',
      podMonitors: '',
      probes: '',
      scrapeConfigs: '',
      serviceRole: 'endpoints',
      deniesFiles: false,
    });
  });

  test('kinds are chosen one by one', () => {
    const keys =
      '{service_monitors: {selector: "a=b"}, probes: {enabled: false}, service_discovery_role: endpointslice, kubeconfig_file: k}';
    expect(load(keys)).toMatchObject({
      serviceMonitors: 'a=b',
      podMonitors: '',
      probes: undefined,
      serviceRole: 'endpointslice',
      kubeconfigFile: '/etc/tidemark/k',
    });
  });

  test.each([
    [
      '{service_monitor: {}}',
      'tidemark.kubernetes_monitors.service_monitor: unknown key "service_monitor"; did you mean service_monitors?',
    ],
    ['{probes: {label: x}}', 'tidemark.kubernetes_monitors.probes.label: unknown key'],
    ['{api_server: "http://x", kubeconfig_file: y}', 'kubeconfig_file: stands beside api_server; keep one'],
    ['{basic_auth: {username: u}}', 'api_server: is needed where settings of the HTTP client stand'],
    ['{service_discovery_role: pod}', '"pod" is not known; use one of endpoints, endpointslice'],
    ['{api_server: "ftp://x"}', '"ftp://x" must start with http:// or https://'],
  ])('%s is refused', (keys, problem) => {
    expect(() => load(keys)).toThrow(problem);
  });

  test('a token of the API server is not shown', () => {
    const config = loadConfig(
      'tidemark: {kubernetes_monitors: {api_server: "http://x", authorization: {credentials: hidden}}}',
      '/',
    );
    expect(config.redactedYaml).not.toContain('hidden');
  });
});
