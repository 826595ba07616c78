// A very small kubelet: turns rendered StatefulSets and Deployments into local processes. Commands, arguments, environment, config
// maps and probes are used as they were rendered; what is rewritten is where a container's world differs from this machine's:
// listen addresses, cluster names of other pods and mount paths.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { readDockerfile } from './dockerfile.ts';
import type { Manifest } from './helm.ts';
import { type RunningProcess, startProcess } from './process.ts';
import { answers, freePort, waitFor } from './programs.ts';

export interface Pod {
  readonly name: string;
  /** `app.kubernetes.io/component`. */
  readonly component: string;
  readonly workload: Manifest;
  /** Container port → port on loopback. */
  readonly ports: ReadonlyMap<number, number>;
}

export interface RunningPod extends Pod {
  readonly process: RunningProcess;
}

interface EnvironmentVariable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly fieldRef: { readonly fieldPath: string } };
}

/** A cluster of pods that share a table of names and ports. */
export class PodWorld {
  readonly #manifests: readonly Manifest[];
  readonly #folder: string;
  readonly #pods: Pod[] = [];
  readonly #image = readDockerfile();

  constructor(manifests: readonly Manifest[], folder: string) {
    this.#manifests = manifests;
    this.#folder = folder;
  }

  /** Gives every replica a name and ports. */
  async schedule(): Promise<readonly Pod[]> {
    for (const workload of this.#manifests) {
      if (workload.kind !== 'StatefulSet' && workload.kind !== 'Deployment') continue;
      const component = workload.metadata.labels['app.kubernetes.io/component']!;
      for (let i = 0; i < (workload.spec.replicas as number); i++) {
        const name = `${workload.metadata.name}-${i}`;
        const ports = new Map<number, number>();
        for (const { containerPort } of workload.spec.template.spec.containers[0].ports as {
          containerPort: number;
        }[]) {
          ports.set(containerPort, await freePort());
        }
        this.#pods.push({ name, component, workload, ports });
      }
    }
    return this.#pods;
  }

  /** Starts a pod's container. */
  start(pod: Pod): RunningPod {
    const spec = pod.workload.spec.template.spec;
    const [container] = spec.containers;
    const mounts = this.#mount(pod, spec, container);
    const local = (text: string): string => this.#localise(text, pod, mounts);
    const environment = this.#environment(pod, container, local);
    const own = container.image.includes('tidemark') as boolean;
    const command = ((container.command as string[] | undefined) ?? [...this.#image.entrypoint]).concat(
      container.args,
    );
    const [program = '', ...args] = command.map((word) => expand(local(word), environment));
    const running = startProcess(program === 'node' ? process.execPath : program, args, {
      env: { ...(own ? mapValues(this.#image.environment, local) : {}), ...environment },
    });
    return { ...pod, process: running };
  }

  /** Waits until the readiness probe answers. */
  async ready(pod: RunningPod, timeoutMs: number): Promise<void> {
    const url = this.probeUrl(pod, 'readinessProbe');
    await waitFor(
      `${pod.name} ready`,
      () => {
        if (pod.process.exited() !== undefined) throw new Error(`ended with ${pod.process.exited()}`);
        return answers(url);
      },
      { timeoutMs, describe: pod.process.output },
    );
  }

  /** Where a probe asks. */
  probeUrl(pod: Pod, probe: 'startupProbe' | 'readinessProbe' | 'livenessProbe'): string {
    const [container] = pod.workload.spec.template.spec.containers;
    const { path: probePath, port } = container[probe].httpGet as { path: string; port: string };
    return `http://127.0.0.1:${pod.ports.get(portNamed(container, port))}${probePath}`;
  }

  /** Arguments and environment of a pod that is not part of a workload, like a test hook. */
  runOnce(manifest: Manifest): RunningProcess {
    const [container] = manifest.spec.containers;
    const local = (text: string): string => this.#localiseNames(text);
    const environment: Record<string, string> = {};
    for (const { name, value } of container.env as EnvironmentVariable[])
      environment[name] = local(value ?? '');
    return startProcess(process.execPath, (container.args as string[]).map(local), { env: environment });
  }

  /** Makes folders for volumes, with the files of config maps; mount path → folder. */
  #mount(pod: Pod, spec: Manifest['spec'], container: Manifest['spec']): ReadonlyMap<string, string> {
    const mounts = new Map<string, string>();
    for (const { name, mountPath } of container.volumeMounts as { name: string; mountPath: string }[]) {
      const folder = path.join(this.#folder, pod.name, name);
      mkdirSync(folder, { recursive: true });
      mounts.set(mountPath, folder);
    }
    for (const { name, configMap } of spec.volumes as { name: string; configMap?: { name: string } }[]) {
      if (configMap === undefined) continue;
      const config = this.#manifests.find(
        (one) => one.kind === 'ConfigMap' && one.metadata.name === configMap.name,
      );
      if (config === undefined) throw new Error(`${pod.name}: no config map ${configMap.name} is rendered`);
      for (const [file, text] of Object.entries(config.data as Record<string, string>)) {
        writeFileSync(path.join(this.#folder, pod.name, name, file), this.#localise(text, pod, mounts));
      }
    }
    return mounts;
  }

  #environment(
    pod: Pod,
    container: Manifest['spec'],
    local: (text: string) => string,
  ): Record<string, string> {
    const environment: Record<string, string> = {};
    for (const { name, value, valueFrom } of container.env as EnvironmentVariable[]) {
      const text = valueFrom === undefined ? (value ?? '') : fieldOf(pod, valueFrom.fieldRef.fieldPath);
      // The pod's address with a port is a port of this machine.
      const address = text.replace(
        /^\$\(POD_IP\):(\d+)$/,
        (_, port: string) => `127.0.0.1:${pod.ports.get(Number(port))}`,
      );
      environment[name] = expand(local(address), environment);
    }
    return environment;
  }

  #localise(text: string, pod: Pod, mounts: ReadonlyMap<string, string>): string {
    let out = this.#localiseNames(text).replace(
      /\b0\.0\.0\.0:(\d+)/g,
      (_, port: string) => `127.0.0.1:${pod.ports.get(Number(port))}`,
    );
    for (const [mountPath, folder] of mounts) {
      out = out.replaceAll(new RegExp(`(?<![\\w/.-])${RegExp.escape(mountPath)}(?![\\w-])`, 'g'), folder);
    }
    return out;
  }

  /** `pod.service.namespace.svc:port` and `service.namespace.svc:port` as loopback. */
  #localiseNames(text: string): string {
    return text.replace(
      /\b(?:([\w-]+)\.)?([\w-]+)\.([\w-]+)\.svc:(\d+)/g,
      (whole, podName: string | undefined, serviceName: string, _namespace, port: string) => {
        const service = this.#manifests.find(
          (one) => one.kind === 'Service' && one.metadata.name === serviceName,
        );
        if (service === undefined) throw new Error(`${whole}: no such service is rendered`);
        const component = service.metadata.labels['app.kubernetes.io/component'];
        const pod = this.#pods.find(
          (one) => one.component === component && (podName === undefined || one.name === podName),
        );
        if (pod === undefined) throw new Error(`${whole}: no such pod is rendered`);
        const servicePort = (service.spec.ports as { port: number; targetPort: string }[]).find(
          (one) => one.port === Number(port),
        );
        if (servicePort === undefined) throw new Error(`${whole}: the service has no such port`);
        const [container] = pod.workload.spec.template.spec.containers;
        return `127.0.0.1:${pod.ports.get(portNamed(container, servicePort.targetPort))}`;
      },
    );
  }
}

function portNamed(container: Manifest['spec'], name: string): number {
  return (container.ports as { name: string; containerPort: number }[]).find((one) => one.name === name)!
    .containerPort;
}

function fieldOf(pod: Pod, fieldPath: string): string {
  if (fieldPath === 'metadata.name') return pod.name;
  if (fieldPath === 'status.podIP') return '127.0.0.1';
  const label = /^metadata\.labels\['(.+)'\]$/.exec(fieldPath)?.[1];
  if (label === undefined) throw new Error(`fieldRef ${fieldPath} is not one that this kubelet knows`);
  return (pod.workload.spec.template.metadata.labels as Record<string, string>)[label] ?? '';
}

/** `$(NAME)` of variables that were defined before, as Kubernetes does. */
function expand(text: string, environment: Readonly<Record<string, string>>): string {
  return text.replace(/\$\((\w+)\)/g, (whole, name: string) => environment[name] ?? whole);
}

function mapValues(
  record: Readonly<Record<string, string>>,
  map: (value: string) => string,
): Record<string, string> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
