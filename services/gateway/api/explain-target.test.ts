// Explanations by kind of discovery, from what scrapers say; test/integration/explain-target.test.ts has the command on a real scraper.
import { expect, test } from 'vitest';
import type { ActiveTarget } from '../../lib/wire/contracts.ts';
import { explainTarget, parseSubject, type ScraperTargets } from './explain-target.ts';

function scraperWith(discoveredLabels: Record<string, string>): ScraperTargets {
  const target: ActiveTarget = {
    discoveredLabels: { __address__: '10.0.0.7:80', ...discoveredLabels },
    labels: { job: 'j', instance: '10.0.0.7:80' },
    scrapePool: 'j',
    scrapeUrl: 'http://10.0.0.7:80/metrics',
    globalUrl: 'http://10.0.0.7:80/metrics',
    lastError: '',
    lastScrapeMs: 1,
    lastScrapeDurationSeconds: 0.01,
    health: 'up',
    scrapeInterval: '15s',
    scrapeTimeout: '10s',
    lastSamplesScraped: 3,
  };
  return { scraper: 's', active: [target], dropped: [], droppedCounts: { j: 0 }, problems: [] };
}

const noSteps = () => Promise.resolve(undefined);
const ask = (subject: string, labels: Record<string, string>) =>
  explainTarget(parseSubject(subject), [scraperWith(labels)], noSteps);

test.each([
  [
    'consul/web',
    { __meta_consul_service: 'web', __meta_consul_node: 'n1' },
    '(consul_sd_configs, service web, node n1)',
  ],
  ['consul/n1', { __meta_consul_service: 'web', __meta_consul_node: 'n1' }, 'service web'],
  [
    'docker/web',
    { __meta_docker_container_name: '/web', __meta_docker_network_name: 'n' },
    '(docker_sd_configs, container /web, network n)',
  ],
  [
    'ec2/i-1',
    { __meta_ec2_instance_id: 'i-1', __meta_ec2_instance_state: 'running' },
    '(ec2_sd_configs, instance i-1, state running)',
  ],
  ['ec2/10.0.0.7', { __meta_ec2_instance_id: 'i-1', __meta_ec2_private_ip: '10.0.0.7' }, 'instance i-1'],
  [
    'dns/_web._tcp.x',
    { __meta_dns_name: '_web._tcp.x', __meta_dns_srv_record_target: 'h.' },
    '(dns_sd_configs, name _web._tcp.x)',
  ],
  ['dns/h.', { __meta_dns_name: '_web._tcp.x', __meta_dns_srv_record_target: 'h.' }, 'dns_sd_configs'],
  ['file/hosts.yml', { __meta_filepath: '/etc/sd/hosts.yml' }, '(file_sd_configs, file /etc/sd/hosts.yml)'],
  ['http/http://x/y', { __meta_url: 'http://x/y' }, '(http_sd_configs, URL http://x/y)'],
  ['static/10.0.0.7:80', {}, '(static_configs)'],
  ['web', { __meta_consul_service: 'web' }, 'consul_sd_configs'],
])('%s is found', async (subject, labels, detail) => {
  const { isScraped, candidates } = await ask(subject, labels);
  expect(isScraped).toBe(true);
  expect(candidates[0]!.stages[0]!.detail).toContain(detail);
});

test.each([
  ['consul/web', { __meta_docker_container_name: '/web' }, /permission: the token needs service:read/],
  ['docker/web', { __meta_consul_service: 'web' }, /filters decide which containers are listed/],
  ['ec2/i-2', { __meta_ec2_instance_id: 'i-1' }, /permission: ec2:DescribeInstances/],
  ['static/10.0.0.7:80', { __meta_filepath: '/x' }, /static_configs of some job has to name it/],
  ['file/osts.yml', { __meta_filepath: '/etc/sd/hosts.yml' }, /a pattern of files that matches none/],
  [
    'nothing',
    { __meta_filepath: '/x' },
    /ask for file\/…, http\/…, dns\/…, consul\/…, docker\/…, ec2\/…, static\/…/,
  ],
])('%s is not, and what decides about it is said', async (subject, labels, hint) => {
  const { isScraped, candidates, hints } = await ask(subject, labels);
  expect([isScraped, candidates]).toEqual([false, []]);
  expect(hints.join('\n')).toMatch(hint);
});
