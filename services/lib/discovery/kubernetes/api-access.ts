// Finds the API server: named in the configuration, by a kubeconfig file, or as every pod finds its own cluster.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { AppError } from '../../core/errors.ts';
import type { KubernetesAccess } from '../../runtime/config/discovery-config.ts';
import { Secret } from '../../runtime/config/secret.ts';
import { type ApiEndpoint, readKubeconfig } from './kubeconfig.ts';

/** Where a pod sees itself. */
export interface PodEnvironment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  /** Folder of token, ca.crt and namespace. */
  readonly serviceAccountFolder: string;
}

export const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/** @throws AppError naming what is missing. */
export async function findApiServer(access: KubernetesAccess, pod: PodEnvironment): Promise<ApiEndpoint> {
  const { apiServer, kubeconfigFile, http } = access;
  if (apiServer !== undefined) return { url: new URL(apiServer), http };
  if (kubeconfigFile !== undefined)
    return readKubeconfig(await readText(kubeconfigFile, 'kubeconfig_file'), kubeconfigFile);
  return inCluster(pod);
}

function inCluster({ variables, serviceAccountFolder }: PodEnvironment): ApiEndpoint {
  const host = variables.KUBERNETES_SERVICE_HOST ?? '';
  const port = variables.KUBERNETES_SERVICE_PORT ?? '';
  if (host === '' || port === '') {
    throw new AppError(
      'failed_precondition',
      'Kubernetes: this process runs in no pod (KUBERNETES_SERVICE_HOST is not set); name api_server or kubeconfig_file',
    );
  }
  return {
    url: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    http: {
      basicAuth: undefined,
      authorization: { type: 'Bearer', credentials: new Secret('') },
      // Read at each request: the token is replaced about every hour.
      credentialsFile: path.join(serviceAccountFolder, 'token'),
      passwordFile: undefined,
      tls: {
        caFile: path.join(serviceAccountFolder, 'ca.crt'),
        certFile: undefined,
        keyFile: undefined,
        serverName: undefined,
        insecureSkipVerify: false,
      },
      followRedirects: true,
      headers: new Map(),
    },
  };
}

/** The namespace that this pod runs in. */
export async function ownNamespace(pod: PodEnvironment): Promise<string> {
  const file = path.join(pod.serviceAccountFolder, 'namespace');
  const name = (await readText(file, 'namespaces.own_namespace')).trim();
  if (name === '') throw new AppError('failed_precondition', `Kubernetes: ${file} is empty (own_namespace)`);
  return name;
}

async function readText(file: string, key: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (caught) {
    const reason = caught instanceof Error ? caught.message : String(caught);
    throw new AppError('failed_precondition', `Kubernetes: ${key}: cannot read ${file}: ${reason}`);
  }
}
