// How V8 sizes the heap of a server whose data lies outside of it: samples, labels and bodies are in array buffers, so the
// heap proper stays at some 20 MB. V8 then begins a full collection whenever less room than its young generation's is left,
// which is after every few scavenges: a tenth of the CPU of a process that ingests went into marking the same 20 MB again.
import { setFlagsFromString } from 'node:v8';

/** The heap may grow to three times what the last full collection left; V8 chooses between 1.1 and 4 itself. */
const HEAP_GROWING_PERCENT = 200;

/** Sets the policy for this process. Call first thing in an entry file. */
export function setHeapPolicy(): void {
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWING_PERCENT}`);
}
