// Calls of AWS' query APIs (EC2, STS): a signed POST of parameters, an answer in XML.
import { AppError } from '../../core/errors.ts';
import { parseXml, textAt, type XmlElement } from '../../core/xml.ts';
import { type HttpClient, readText } from '../../runtime/http-client.ts';
import { signAws } from './aws-signature.ts';

/** A page of a thousand instances is about 5 MB. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;

export interface AwsCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | undefined;
  /** Unix milliseconds; Infinity for those that do not end. */
  readonly expiresAtMs: number;
}

export interface AwsCall {
  readonly client: HttpClient;
  readonly url: string;
  readonly service: 'ec2' | 'sts';
  readonly region: string;
  /** Undefined: the call is not signed. */
  readonly credentials: AwsCredentials | undefined;
  /** `Action` and `Version` among them. */
  readonly parameters: readonly (readonly [name: string, value: string])[];
  /** Of the signature, Unix milliseconds. */
  readonly timeMs: number;
  readonly signal: AbortSignal;
}

/** The API refused: `code` as AWS names it. */
export class AwsRefusal extends AppError {
  readonly awsCode: string;

  constructor(awsCode: string, message: string) {
    super('unavailable', message);
    this.name = 'AwsRefusal';
    this.awsCode = awsCode;
  }
}

/**
 * Makes one call.
 *
 * @throws AwsRefusal when the API answers with an error; AppError `bad_data` for an answer that is no XML.
 */
export async function callAws(call: AwsCall): Promise<XmlElement> {
  const body = new URLSearchParams(
    call.parameters.map(([name, value]): [string, string] => [name, value]),
  ).toString();
  const url = new URL(call.url);
  const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' };
  const { service, region, timeMs, credentials } = call;
  const signed =
    credentials === undefined
      ? {}
      : signAws({ method: 'POST', url, headers, body, service, region, timeMs, ...credentials });
  const response = await call.client.post(
    url,
    { ...headers, ...signed, 'user-agent': 'Tidemark' },
    Buffer.from(body),
    call.signal,
  );
  const text = await readText(response, BODY_BYTES_MAX);
  if (response.statusCode === 200) return parseXml(text);
  throw refusalOf(call, response.statusCode ?? 0, text);
}

function refusalOf(call: AwsCall, status: number, text: string): AwsRefusal {
  const action = call.parameters.find(([name]) => name === 'Action')?.[1] ?? '';
  let code = '';
  let reason = text.slice(0, 200).trim();
  try {
    const root = parseXml(text);
    // EC2: Response/Errors/Error, STS: ErrorResponse/Error.
    const error = textAt(root, 'Errors', 'Error', 'Code') === undefined ? ['Error'] : ['Errors', 'Error'];
    code = textAt(root, ...error, 'Code') ?? '';
    reason = textAt(root, ...error, 'Message') ?? reason;
  } catch {
    // Not XML: what was said stands as it is.
  }
  const remedy = code === 'UnauthorizedOperation' ? `; the role needs ${call.service}:${action}` : '';
  return new AwsRefusal(code, `${action}: HTTP status ${status} ${code} (${reason})${remedy}`);
}
