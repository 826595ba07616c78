// `node services/store/main.ts`: a store as a process of a cluster.
import { lockDataDirectory } from '../lib/runtime/data-directory.ts';
import { runServiceProcess } from '../lib/transport/service-process.ts';
import { StoreDefinition } from '../lib/wire/contracts.ts';
import { STORE_FLAGS } from './flags.ts';
import { createStore } from './service.ts';

runServiceProcess({
  service: 'store',
  usage: 'Tidemark store: holds copies of sealed blocks and answers from them.',
  flags: STORE_FLAGS,
  build: ({ flags, clock, logger, registry }) => {
    const dataDir = flags['storage.tsdb.path'];
    process.on('exit', lockDataDirectory(dataDir));
    const store = createStore(
      {
        dataDir,
        retentionMs: flags['storage.tsdb.retention.time'],
        retentionBytes: flags['storage.tsdb.retention.size'],
        deleteDelayMs: flags['store.delete-delay'],
      },
      { clock, logger, registry },
    );
    return { services: [store], serve: (server) => server.add(StoreDefinition, store.handlers) };
  },
});
