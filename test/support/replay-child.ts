// One machine's storage in a process of its own, for what a start costs. Usage: node replay-child.ts DATA_DIR write REQUESTS, or
// node replay-child.ts DATA_DIR start. Both print `ready` when the log is replayed and `peak BYTES`, the most memory it ever had.
import { readFileSync, writeSync } from 'node:fs';
import { systemDisk } from '../../services/lib/core/disk.ts';
import { LedgerWriter, newLedger } from './ledger.ts';
import { startOneMachine } from './one-machine.ts';

const REPLAY_SERIES = 2000;

const [dataDir, mode, requests] = process.argv.slice(2);
// No image and no seal: the log alone has everything.
const options = { segmentBytesMax: 4 << 20, imageLogBytes: 2 ** 40, imageIntervalMs: 1e12 };
const machine = await startOneMachine(dataDir!, systemDisk, options, true);
writeSync(1, 'ready\n');
if (mode === 'write') {
  const writer = new LedgerWriter(machine.client, newLedger('w', REPLAY_SERIES), 'w');
  for (let i = 0; i < Number(requests); i++)
    if (!(await writer.send())) throw new Error(`request ${i} was refused`);
}
const peakKib = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))![1];
writeSync(1, `peak ${Number(peakKib) * 1024}\n`);
process.kill(process.pid, 'SIGKILL');
