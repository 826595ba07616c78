// EC2 discovery against a server that answers as the EC2, STS and instance metadata references document it; what it is asked is checked
// there, signatures included.
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { Registry } from 'prom-client';
import { expect, onTestFinished, test } from 'vitest';
import { fuzzBytes } from '../../../../test/support/byte-fuzz.ts';
import { waitFor } from '../../../../test/support/programs.ts';
import { freshFolder } from '../../../../test/support/tidemark.ts';
import { encodeUtf8 } from '../../core/bytes.ts';
import { systemClock } from '../../core/clock.ts';
import { AppError } from '../../core/errors.ts';
import { parseXml, textAt } from '../../core/xml.ts';
import { loadConfig } from '../../runtime/config/load-config.ts';
import { createSilentLogger } from '../../runtime/logger.ts';
import { createDiscovery, type Discovery } from '../discovery.ts';
import { createDiscoverySources } from '../discovery-sources.ts';
import type { Variables } from './aws-credentials.ts';
import { signAws } from './aws-signature.ts';

const FULL = `<item>
  <instanceId>i-1</instanceId><imageId>ami-9</imageId>
  <instanceState><code>16</code><name>running</name></instanceState>
  <privateDnsName>ip-10-0-0-1.internal</privateDnsName><dnsName>ec2-1.example</dnsName>
  <instanceType>m7g.large</instanceType><instanceLifecycle>spot</instanceLifecycle>
  <placement><availabilityZone>eu-west-2a</availabilityZone><tenancy>default</tenancy></placement>
  <platform>windows</platform><architecture>arm64</architecture>
  <subnetId>subnet-a</subnetId><vpcId>vpc-1</vpcId>
  <privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>198.51.100.1</ipAddress>
  <networkInterfaceSet>
    <item><subnetId>subnet-a</subnetId><attachment><deviceIndex>0</deviceIndex></attachment>
      <ipv6AddressesSet><item><ipv6Address>2001:db8::1</ipv6Address><isPrimaryIpv6>false</isPrimaryIpv6></item></ipv6AddressesSet></item>
    <item><subnetId>subnet-b</subnetId><attachment><deviceIndex>1</deviceIndex></attachment>
      <ipv6AddressesSet><item><ipv6Address>2001:db8::2</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item></ipv6AddressesSet></item>
    <item><subnetId>subnet-a</subnetId><attachment><deviceIndex>2</deviceIndex></attachment></item>
  </networkInterfaceSet>
  <tagSet><item><key>Name &amp; place</key><value>web &lt;1&gt;</value></item><item><key>empty</key><value/></item></tagSet>
</item>`;
const BARE = `<item><instanceId>i-2</instanceId><imageId>ami-9</imageId><instanceState><name>pending</name></instanceState>
  <instanceType>t3.nano</instanceType><placement><availabilityZone>eu-west-2z</availabilityZone></placement>
  <privateIpAddress>10.0.0.2</privateIpAddress></item>`;
const NO_ADDRESS = '<item><instanceId>i-3</instanceId></item>';
const page = (instances: string, next: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>
<reservationSet><item><reservationId>r-1</reservationId><ownerId>123456789012</ownerId><instancesSet>${instances}</instancesSet></item></reservationSet>
${next === '' ? '' : `<nextToken>${next}</nextToken>`}</DescribeInstancesResponse>`;
const ZONES = `<DescribeAvailabilityZonesResponse><availabilityZoneInfo>
<item><zoneName>eu-west-2a</zoneName><zoneId>euw2-az2</zoneId></item></availabilityZoneInfo></DescribeAvailabilityZonesResponse>`;
const refusal = (code: string): string =>
  `<Response><Errors><Error><Code>${code}</Code><Message>You are not authorized.</Message></Error></Errors></Response>`;

interface Asked {
  readonly headers: http.IncomingHttpHeaders;
  readonly parameters: Readonly<Record<string, string>>;
  readonly path: string;
}

interface FakeAws {
  readonly url: string;
  readonly asked: Asked[];
  /** Answers of EC2 and STS by action; undefined: as documented. */
  refuse: string | undefined;
}

async function startAws(): Promise<FakeAws> {
  const asked: Asked[] = [];
  const aws: { refuse: string | undefined } = { refuse: undefined };
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (piece) => {
      body += piece;
    });
    request.on('end', () => {
      const parameters = Object.fromEntries(new URLSearchParams(body));
      asked.push({ headers: request.headers, parameters, path: `${request.method} ${request.url}` });
      if (aws.refuse !== undefined && parameters.Action === 'DescribeInstances')
        response.writeHead(403).end(refusal(aws.refuse));
      else response.end(answerOf(request, parameters));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return Object.assign(aws, { url, asked });
}

function answerOf(request: http.IncomingMessage, parameters: Readonly<Record<string, string>>): string {
  const keys = (id: string): string =>
    `<Credentials><AccessKeyId>${id}</AccessKeyId><SecretAccessKey>s-${id}</SecretAccessKey><SessionToken>t-${id}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>`;
  switch (parameters.Action ?? request.url) {
    case 'DescribeAvailabilityZones':
      return ZONES;
    case 'DescribeInstances':
      return parameters.NextToken === undefined ? page(FULL, 'more/=') : page(BARE + NO_ADDRESS, '');
    case 'AssumeRole':
      return `<AssumeRoleResponse><AssumeRoleResult>${keys('role')}</AssumeRoleResult></AssumeRoleResponse>`;
    case 'AssumeRoleWithWebIdentity':
      return `<X><AssumeRoleWithWebIdentityResult>${keys('pod')}</AssumeRoleWithWebIdentityResult></X>`;
    case '/latest/api/token':
      return 'metadata-token';
    case '/latest/meta-data/placement/region':
      return 'ap-south-1';
    case '/latest/meta-data/iam/security-credentials/':
      return 'node-role';
    default:
      return JSON.stringify({
        ...{ AccessKeyId: 'machine', SecretAccessKey: 'm', Token: 'mt', Expiration: '2099-01-01T00:00:00Z' },
      });
  }
}

async function discover(keys: string, variables: Variables = {}): Promise<Discovery> {
  const environment = { clock: systemClock, logger: createSilentLogger() };
  const { discovery: config } = loadConfig(
    `scrape_configs: [{job_name: a, ec2_sd_configs: [{refresh_interval: 100ms, ${keys}}]}]`,
    '/',
  ).scrapeConfigs[0]!;
  const discovery = createDiscovery(config, {
    ...environment,
    onChange: () => {},
    onError: () => {},
    sources: {
      ...createDiscoverySources({ ...environment, registry: new Registry() }),
      variables: { HOME: freshFolder(), ...variables },
    },
  });
  await discovery.start();
  onTestFinished(() => discovery.stop());
  return discovery;
}

const targetsOf = (discovery: Discovery): string[] =>
  discovery.groups().flatMap(({ targets }) => [...targets]);

test('signs as the example in AWS’ documents', () => {
  const headers = signAws({
    method: 'GET',
    url: new URL('https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08'),
    headers: { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
    ...{ body: '', service: 'iam', region: 'us-east-1' },
    accessKeyId: 'AKIDEXAMPLE',
    secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
    timeMs: Date.UTC(2015, 7, 30, 12, 36, 0),
  });
  expect(headers).toEqual({
    'x-amz-date': '20150830T123600Z',
    authorization:
      'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
  });
});

test('all instances of all pages, with the labels of Prometheus’ documents', async () => {
  const aws = await startAws();
  const discovery = await discover(
    `region: eu-west-2, endpoint: "${aws.url}", access_key: k, secret_key: s, port: 9100, filters: [{name: tag:team, values: [a, b]}, {name: instance-state-name, values: [running]}]`,
  );
  const [group] = discovery.groups();
  expect(group!.targets).toEqual(['10.0.0.1:9100', '10.0.0.2:9100']);
  expect(Object.fromEntries(group!.targetLabels![0]!.entries())).toEqual({
    __meta_ec2_ami: 'ami-9',
    __meta_ec2_architecture: 'arm64',
    __meta_ec2_availability_zone: 'eu-west-2a',
    __meta_ec2_availability_zone_id: 'euw2-az2',
    __meta_ec2_default_ipv6_address: '2001:db8::2',
    __meta_ec2_instance_id: 'i-1',
    __meta_ec2_instance_lifecycle: 'spot',
    __meta_ec2_instance_state: 'running',
    __meta_ec2_instance_type: 'm7g.large',
    __meta_ec2_ipv6_addresses: ',2001:db8::1,2001:db8::2,',
    __meta_ec2_owner_id: '123456789012',
    __meta_ec2_platform: 'windows',
    __meta_ec2_primary_ipv6_addresses: ',,2001:db8::2,',
    __meta_ec2_primary_subnet_id: 'subnet-a',
    __meta_ec2_private_dns_name: 'ip-10-0-0-1.internal',
    __meta_ec2_private_ip: '10.0.0.1',
    __meta_ec2_public_dns_name: 'ec2-1.example',
    __meta_ec2_public_ip: '198.51.100.1',
    __meta_ec2_region: 'eu-west-2',
    __meta_ec2_subnet_id: ',subnet-a,subnet-b,',
    __meta_ec2_tag_Name___place: 'web <1>',
    __meta_ec2_vpc_id: 'vpc-1',
  });
  expect(group!.targetLabels![1]!.has('__meta_ec2_vpc_id')).toBe(false);
  const [zones, first, second] = aws.asked;
  expect(zones!.parameters.Action).toBe('DescribeAvailabilityZones');
  expect(first!.parameters).toEqual({
    ...{ Action: 'DescribeInstances', Version: '2016-11-15' },
    ...{ 'Filter.1.Name': 'tag:team', 'Filter.1.Value.1': 'a', 'Filter.1.Value.2': 'b' },
    ...{ 'Filter.2.Name': 'instance-state-name', 'Filter.2.Value.1': 'running' },
  });
  expect(second!.parameters.NextToken).toBe('more/=');
  expect(first!.headers.authorization).toMatch(
    /^AWS4-HMAC-SHA256 Credential=k\/\d{8}\/eu-west-2\/ec2\/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=[\da-f]{64}$/,
  );
});

test('a refusal names the permission and keeps the last result', async () => {
  const aws = await startAws();
  const discovery = await discover(`region: r, endpoint: "${aws.url}", access_key: k, secret_key: s`);
  aws.refuse = 'UnauthorizedOperation';
  await waitFor('a problem', async () => discovery.problems().length > 0);
  expect(discovery.problems()[0]).toContain(
    'DescribeInstances: HTTP status 403 UnauthorizedOperation (You are not authorized.); the role needs ec2:DescribeInstances',
  );
  expect(targetsOf(discovery)).toEqual(['10.0.0.1:80', '10.0.0.2:80']);
});

const profile = (): string => {
  const file = path.join(freshFolder(), 'credentials');
  writeFileSync(
    file,
    '[other]\naws_access_key_id = no\n[shop]\naws_access_key_id = prof\naws_secret_access_key=p\n',
  );
  return file;
};
const tokenFile = (): string => {
  const file = path.join(freshFolder(), 'token');
  writeFileSync(file, 'jwt\n');
  return file;
};

test.each<[string, string, (url: string) => Variables, string, string | undefined]>([
  [
    'the environment',
    '',
    () => ({ AWS_ACCESS_KEY_ID: 'env', AWS_SECRET_ACCESS_KEY: 's', AWS_SESSION_TOKEN: 'st' }),
    'env',
    'st',
  ],
  [
    'a profile',
    'profile: shop',
    () => ({ AWS_SHARED_CREDENTIALS_FILE: profile(), AWS_ACCESS_KEY_ID: 'env', AWS_SECRET_ACCESS_KEY: 's' }),
    'prof',
    undefined,
  ],
  [
    'the token of a pod',
    '',
    (url) => ({
      AWS_WEB_IDENTITY_TOKEN_FILE: tokenFile(),
      AWS_ROLE_ARN: 'arn:pod',
      AWS_ENDPOINT_URL_STS: url,
    }),
    'pod',
    't-pod',
  ],
  [
    'the agent of a container',
    '',
    (url) => ({ AWS_CONTAINER_CREDENTIALS_FULL_URI: `${url}agent`, AWS_CONTAINER_AUTHORIZATION_TOKEN: 'x' }),
    'machine',
    'mt',
  ],
  ['the instance', '', (url) => ({ AWS_EC2_METADATA_SERVICE_ENDPOINT: url }), 'machine', 'mt'],
  [
    'a role that is taken on',
    'access_key: k, secret_key: s, role_arn: "arn:r", external_id: e',
    (url) => ({ AWS_ENDPOINT_URL_STS: url }),
    'role',
    't-role',
  ],
])('credentials of %s', async (_name, keys, variables, id, sessionToken) => {
  const aws = await startAws();
  const discovery = await discover(
    `region: r, endpoint: "${aws.url}"${keys === '' ? '' : `, ${keys}`}`,
    variables(aws.url),
  );
  expect(discovery.problems()).toEqual([]);
  const call = aws.asked.find(({ parameters }) => parameters.Action === 'DescribeInstances')!;
  expect(call.headers.authorization).toContain(`Credential=${id}/`);
  expect(call.headers['x-amz-security-token']).toBe(sessionToken);
  const assumed = aws.asked.find(({ parameters }) => parameters.Action?.startsWith('AssumeRole'));
  if (id === 'role')
    expect(assumed!.parameters).toMatchObject({ RoleArn: 'arn:r', ExternalId: 'e', Version: '2011-06-15' });
  if (id === 'pod') {
    expect(assumed!.parameters).toMatchObject({ RoleArn: 'arn:pod', WebIdentityToken: 'jwt' });
    expect(assumed!.headers.authorization).toBeUndefined();
  }
});

test('the region of the instance, by a token; without one it says what to set', async () => {
  const aws = await startAws();
  const variables = { AWS_EC2_METADATA_SERVICE_ENDPOINT: aws.url };
  const discovery = await discover(`endpoint: "${aws.url}", access_key: k, secret_key: s`, variables);
  expect(discovery.groups()[0]!.source).toBe('ap-south-1');
  expect(aws.asked[1]!.headers['x-aws-ec2-metadata-token']).toBe('metadata-token');
  const alone = await discover('access_key: k, secret_key: s', { AWS_EC2_METADATA_DISABLED: 'true' });
  expect(alone.problems()[0]).toContain('no region: set region, or AWS_REGION');
});

test('XML: entities, CDATA, comments; damage and bombs are refused', () => {
  const root = parseXml(
    '<?xml version="1.0"?><!-- c --><a x="1"><b>&lt;&#65;&#x42;&amp;<![CDATA[<&>]]></b><c/></a>',
  );
  expect(textAt(root, 'b')).toBe('<AB&<&>');
  expect(textAt(root, 'c')).toBe('');
  for (const text of [
    '',
    '<a>',
    '<a></b>',
    '</a>',
    '<a',
    '<>x</>',
    '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
  ])
    expect(() => parseXml(text), text).toThrow(AppError);
  expect(() => parseXml('<a>'.repeat(1e6))).toThrow('nested deeper');
});

test('mutated answers are read or refused', async () => {
  await fuzzBytes({
    name: 'xml',
    samples: [page(FULL + BARE, 'x'), ZONES, refusal('AuthFailure')].map((text) => encodeUtf8(text)),
    mutationsMax: 10_000,
    answeredShareMin: 0.01,
    read: (bytes) => {
      try {
        parseXml(Buffer.from(bytes).toString());
        return true;
      } catch (caught) {
        if (caught instanceof AppError && caught.code === 'bad_data') return false;
        throw caught;
      }
    },
  });
});
