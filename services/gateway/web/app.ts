// Starts the page's panels.
import { call } from './api.ts';
import { startClusterPanel } from './cluster-panel.ts';
import { byId } from './dom.ts';
import { QueryPanel } from './query-panel.ts';
import { startRatePanel } from './rate-panel.ts';
import { startTargetsPanel } from './targets-panel.ts';
import { startWritePanel } from './write-panel.ts';

async function showVersion(): Promise<void> {
  try {
    const { data } = await call<{ version: string; revision: string }>('status/buildinfo');
    byId('version').textContent = `${data.revision} · API of Prometheus ${data.version}`;
  } catch {
    byId('version').textContent = '';
  }
}

startWritePanel();
startTargetsPanel();
startClusterPanel();
startRatePanel();
new QueryPanel();
void showVersion();
