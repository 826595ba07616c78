// The processes of the cluster: who is there, who should be, and who owns what. A process that is all by itself shows nothing.
import { type ClusterMember, type ClusterMembers, call } from './api.ts';
import { byId, element } from './dom.ts';
import { printAge, printHeartbeat } from './format.ts';
import { repeat } from './repeat.ts';

const INTERVAL_MS = 5000;
/** Rows that are shown; those that are not ready come first. */
const ROWS_MAX = 500;

/** Classes of pill, and the order of rows: what needs somebody's attention first. */
const STATES: ReadonlyMap<string, { readonly rank: number; readonly pill: string }> = new Map([
  ['absent', { rank: 0, pill: 'down' }],
  ['starting', { rank: 1, pill: 'changing' }],
  ['draining', { rank: 2, pill: 'changing' }],
  ['ready', { rank: 3, pill: 'up' }],
]);

export function startClusterPanel(): void {
  repeat(INTERVAL_MS, async () => {
    try {
      const { data } = await call<ClusterMembers>('cluster/members');
      show(data);
    } catch (caught) {
      showError(caught);
    }
  });
}

function show(cluster: ClusterMembers): void {
  const isCluster = cluster.controlPlane !== 'embedded';
  byId('cluster').hidden = !isCluster;
  byId('cluster-link').hidden = !isCluster;
  if (!isCluster) return;
  const { members } = cluster;
  const absent = members.filter(({ state }) => state === 'absent').length;
  const badge = byId('cluster-badge');
  badge.hidden = absent === 0;
  badge.textContent = `${absent} absent`;
  byId('cluster-summary').textContent = summaryOf(cluster);
  byId('cluster-body').replaceChildren(
    ...warningsOf(cluster),
    ...(members.length > 0 ? [tableOf(members)] : []),
  );
}

function summaryOf({ members, partitions, replicationFactor, epoch }: ClusterMembers): string {
  const ready = members.filter(({ state }) => state === 'ready').length;
  const placement =
    epoch === 0
      ? 'no placement yet'
      : `${partitions} partitions × ${replicationFactor} replicas · placement ${epoch}`;
  return `${ready} of ${members.length} ready · ${placement}`;
}

function warningsOf({ controlPlane, members }: ClusterMembers): HTMLElement[] {
  const warnings: string[] = [];
  if (controlPlane !== 'reachable') {
    warnings.push('NATS cannot be reached: this is the last known state. Writes and queries go on with it.');
  }
  const versions = new Set(members.map(({ version }) => version).filter((version) => version !== ''));
  if (versions.size > 1) warnings.push(`Several versions run at once: ${[...versions].sort().join(', ')}`);
  if (warnings.length === 0) return [];
  const items = warnings.map((text) => element('li', {}, text));
  return [element('ul', { className: 'notices' }, ...items)];
}

function showError(caught: unknown): void {
  // Hidden until the first answer: a server that is starting says so in the other panels.
  const text = caught instanceof Error ? caught.message : String(caught);
  byId('cluster-summary').textContent = '';
  byId('cluster-body').replaceChildren(element('p', { className: 'message' }, text));
}

function tableOf(members: readonly ClusterMember[]): HTMLElement {
  const rank = ({ state }: ClusterMember) => STATES.get(state)?.rank ?? 0;
  // The server sorts by service and instance; the sort is stable.
  const sorted = members.toSorted((a, b) => rank(a) - rank(b));
  const nowMs = Date.now();
  const head = element(
    'tr',
    {},
    ...['Service', 'Instance', 'State', 'Zone'].map((title) => element('th', {}, title)),
    ...['Partitions', 'Heartbeat', 'Started'].map((title) => element('th', { className: 'number' }, title)),
    ...['Version', 'Address'].map((title) => element('th', {}, title)),
  );
  const rows = sorted.slice(0, ROWS_MAX).map((member) => rowOf(member, nowMs));
  const table = element('table', {}, element('thead', {}, head), element('tbody', {}, ...rows));
  const cut = sorted.length - ROWS_MAX;
  const note = element('p', { className: 'hint' }, `${cut} more processes are not shown.`);
  // Focusable, so that arrow keys scroll it where it does not fit.
  const attributes = { tabindex: '0', role: 'region', 'aria-label': 'Processes of the cluster' };
  return element('div', { className: 'scroll', attributes }, table, ...(cut > 0 ? [note] : []));
}

function rowOf(member: ClusterMember, nowMs: number): HTMLElement {
  const text = (value: string) => element('td', {}, value === '' ? '–' : value);
  const number = (value: string) => element('td', { className: 'number' }, value);
  const pill = STATES.get(member.state)?.pill ?? 'unknown';
  const isThere = member.heartbeatAgeSeconds !== null;
  return element(
    'tr',
    {},
    text(member.service),
    element('td', { className: 'mono' }, member.instance),
    element('td', {}, element('span', { className: `pill ${pill}` }, member.state)),
    text(member.zone),
    number(member.service === 'ingester' ? String(member.partitionsOwned) : '–'),
    number(printHeartbeat(member.heartbeatAgeSeconds)),
    number(isThere ? printAge(member.startTime, nowMs) : '–'),
    text(member.version),
    element('td', { className: 'mono' }, member.grpcAddress || member.httpAddress || '–'),
  );
}
