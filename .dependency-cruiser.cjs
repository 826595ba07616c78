// The directions between folders (ARCHITECTURE.md, "Layout"): each rule has a reason, and test/integration/layout.test.ts
// proves that each one bites.
const LIB = 'services/lib';
const SERVICES = '^services/(scraper|ingester|store|querier|alert-evaluator|gateway|all-in-one)/';

/** Folders of services/lib from the inside out; a folder may import its own level's list only. */
const MAY_IMPORT = {
  core: [],
  model: ['core'],
  tsdb: ['core', 'model'],
  promql: ['core', 'model'],
  exposition: ['core', 'model'],
  relabel: ['core', 'model'],
  rules: ['core', 'model', 'promql'],
  placement: ['core', 'model'],
  discovery: ['core', 'model', 'relabel', 'placement', 'runtime'],
  wire: ['core', 'model', 'tsdb', 'promql', 'exposition', 'relabel', 'rules', 'placement'],
  runtime: ['core', 'model', 'relabel', 'rules'],
  transport: ['core', 'model', 'placement', 'wire', 'runtime'],
  objstore: ['core', 'model', 'tsdb', 'runtime'],
  distributor: ['core', 'model', 'placement', 'wire', 'runtime', 'transport'],
};

const layers = Object.entries(MAY_IMPORT).map(([folder, allowed]) => ({
  name: `layer-${folder}`,
  comment: `services/lib/${folder} imports ${allowed.join(', ') || 'nothing'} of services/lib.`,
  severity: 'error',
  from: { path: `^${LIB}/${folder}/` },
  to: { path: `^${LIB}/`, pathNot: [`^${LIB}/${folder}/`, ...allowed.map((name) => `^${LIB}/${name}/`)] },
}));

module.exports = {
  forbidden: [
    ...layers,
    {
      name: 'lib-knows-no-service',
      comment: 'Engines are used by services, never the other way round.',
      severity: 'error',
      from: { path: `^${LIB}/` },
      to: { path: SERVICES },
    },
    {
      name: 'services-meet-in-proto',
      comment: 'A service never imports another; all-in-one composes them.',
      severity: 'error',
      from: { path: '^services/(?!lib/|all-in-one/)([^/]+)/' },
      to: { path: SERVICES, pathNot: '^services/$1/' },
    },
    {
      name: 'generated-code-behind-wire',
      comment: 'Only wire and transport know the generated code.',
      severity: 'error',
      from: { pathNot: `^${LIB}/(wire|transport)/` },
      to: { path: `^${LIB}/wire/gen/` },
    },
    {
      name: 'network-libraries-behind-transport',
      comment: 'gRPC and NATS are imported by transport only.',
      severity: 'error',
      from: { path: '^services/', pathNot: `^${LIB}/transport/` },
      to: { path: 'node_modules/(@grpc|@nats-io)/' },
    },
    {
      name: 'object-storage-library-behind-objstore',
      comment: 'What signs requests to object storage is imported by objstore only.',
      severity: 'error',
      from: { path: '^services/', pathNot: `^${LIB}/objstore/` },
      to: { path: 'node_modules/aws4fetch/' },
    },
    {
      name: 'no-tests-in-products',
      comment: 'Production code does not import tests or their support.',
      severity: 'error',
      from: { path: '^services/', pathNot: '\\.(test|bench)\\.ts$' },
      to: { path: '(\\.test\\.ts$|^test/)' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true, viaOnly: { pathNot: '/gen/' } } },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-dev-dependencies-in-products',
      comment: 'What runs in production is a dependency, not a devDependency.',
      severity: 'error',
      from: { path: '^services/', pathNot: '\\.(test|bench)\\.ts$' },
      to: { dependencyTypes: ['npm-dev'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
