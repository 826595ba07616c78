// One machine's storage in a process of its own, to be killed: writes numbered samples, seals now and then, and says on standard
// output what was acknowledged. Usage: node reliability-child.ts DATA_DIR WRITER MODE [ARGUMENT [NTH]]
// MODE `plain` does nothing more; `points` names every failpoint of the disk that is passed; `die` ends with SIGKILL at the NTH passing
// of ARGUMENT; `eio` lets the NTH sync of ARGUMENT fail.
import { writeSync } from 'node:fs';
import type { Disk } from '../../services/lib/core/disk.ts';
import { failpointDisk, kindOf } from './failpoint-disk.ts';
import { LedgerWriter, newLedger } from './ledger.ts';
import { startOneMachine } from './one-machine.ts';

const SERIES = 60;
const REQUESTS = 30;
const SEAL_AFTER: ReadonlySet<number> = new Set([9, 19]);

const [dataDir, name, mode, argument, nthText] = process.argv.slice(2);
let left = Number(nthText ?? 1);

function onPoint(point: string): void {
  if (mode === 'points') writeSync(1, `point ${point}\n`);
  else if (mode === 'die' && point === argument && --left === 0) process.kill(process.pid, 'SIGKILL');
}

function failingSyncs(disk: Disk): Disk {
  if (mode !== 'eio') return disk;
  return {
    ...disk,
    async open(file, how) {
      const opened = await disk.open(file, how);
      const sync = async (): Promise<void> => {
        if (kindOf(file) === argument && --left === 0) {
          throw Object.assign(new Error('EIO: simulated'), { code: 'EIO' });
        }
        await opened.sync();
      };
      return { ...opened, sync };
    },
  };
}

const options = { segmentBytesMax: 4096, imageLogBytes: 2048, imageIntervalMs: 0 };
const machine = await startOneMachine(dataDir!, failingSyncs(failpointDisk(onPoint)), options, true);
const ledger = newLedger(name!, SERIES);
const writer = new LedgerWriter(machine.client, ledger, name!);
const { signal } = new AbortController();
for (let i = 0; i < REQUESTS; i++) {
  const isDurable = await writer.send();
  onPoint('before acknowledgement');
  if (isDurable) writeSync(1, `ack ${i}\n`);
  onPoint('after acknowledgement');
  if (SEAL_AFTER.has(i)) await machine.client.seal({ tenant: '' }, { signal }).catch(() => undefined);
}
await machine.stop();
process.exit(0);
