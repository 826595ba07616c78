// A fault proxy in a process of its own, for a network namespace: node fault-proxy-process.ts HOST PORT TARGET_HOST TARGET_PORT. Says
// `ready`, then takes a line per fault on standard input: `delay MS`, `silence`, `heal`, `reset`. Ends with its input.
import { createInterface } from 'node:readline';
import { FaultProxy } from './fault-proxy.ts';

const [host, port, targetHost, targetPort] = process.argv.slice(2);
const proxy = await FaultProxy.start(Number(port), Number(targetPort), {
  host: host!,
  targetHost: targetHost!,
});
process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const [fault, argument] = line.split(' ');
  if (fault === 'delay') proxy.delay(Number(argument));
  else if (fault === 'silence') proxy.silence();
  else if (fault === 'heal') proxy.heal();
  else if (fault === 'reset') proxy.reset();
}
process.exit(0);
