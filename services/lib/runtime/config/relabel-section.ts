// Relabelling steps, checked per action as Prometheus checks them.
import { AppError } from '../../core/errors.ts';
import type { RelabelAction, RelabelConfig } from '../../relabel/relabel-config.ts';
import { checkRelabelRegex } from '../../relabel/relabel-regex.ts';
import type { NameValidation } from './prometheus-config.ts';
import type { Section } from './section.ts';

const ACTIONS: readonly RelabelAction[] = [
  'replace',
  'keep',
  'drop',
  'keepequal',
  'dropequal',
  'hashmod',
  'labelmap',
  'labeldrop',
  'labelkeep',
  'lowercase',
  'uppercase',
];

const DEFAULT_SEPARATOR = ';';
const DEFAULT_REGEX = '(.*)';
const DEFAULT_REPLACEMENT = '$1';

/** Reads the list of relabelling steps under `key`. */
export function readRelabelConfigs(
  section: Section,
  key: string,
  names: NameValidation,
): readonly RelabelConfig[] {
  return section.sections(key).map((step) => readRelabelConfig(step, names));
}

function readRelabelConfig(section: Section, names: NameValidation): RelabelConfig {
  const config: RelabelConfig = {
    action: readAction(section),
    sourceLabels: section.texts('source_labels'),
    separator: section.text('separator') ?? DEFAULT_SEPARATOR,
    regex: section.text('regex') ?? DEFAULT_REGEX,
    modulus: section.integer('modulus') ?? 0,
    targetLabel: section.text('target_label') ?? '',
    replacement: section.text('replacement') ?? DEFAULT_REPLACEMENT,
  };
  section.finish();
  try {
    checkRelabelRegex(config.regex);
  } catch (caught) {
    throw section.error('regex', caught instanceof AppError ? caught.message : String(caught));
  }
  for (const name of config.sourceLabels) {
    if (!section.isLabelName(name, names)) {
      throw section.error('source_labels', `${JSON.stringify(name)} is not a valid label name`);
    }
  }
  checkAction(section, config, names);
  return config;
}

function readAction(section: Section): RelabelAction {
  const text = section.text('action');
  if (text === undefined) return 'replace';
  const action = ACTIONS.find((known) => known === text.toLowerCase());
  if (action === undefined) {
    throw section.error('action', `${JSON.stringify(text)} is not known; use one of ${ACTIONS.join(', ')}`);
  }
  return action;
}

function checkAction(section: Section, config: RelabelConfig, names: NameValidation): void {
  const { action, targetLabel, replacement } = config;
  const needTarget = (): void => {
    if (targetLabel === '') throw section.error('target_label', `is required for action ${action}`);
  };
  const needValidTarget = (valid: boolean): void => {
    if (!valid) {
      throw section.error(
        'target_label',
        `${JSON.stringify(targetLabel)} is not a valid label name for action ${action}`,
      );
    }
  };
  switch (action) {
    case 'keep':
    case 'drop':
      return;
    case 'replace':
      needTarget();
      needValidTarget(isLabelTemplate(section, targetLabel, names));
      return;
    case 'hashmod':
      needTarget();
      if (config.modulus === 0)
        throw section.error('modulus', 'must be given and greater than 0 for action hashmod');
      needValidTarget(section.isLabelName(targetLabel, names));
      return;
    case 'lowercase':
    case 'uppercase':
      needTarget();
      needValidTarget(section.isLabelName(targetLabel, names));
      if (replacement !== DEFAULT_REPLACEMENT) {
        throw section.error(
          'replacement',
          `${JSON.stringify(replacement)} has no meaning for action ${action}; remove it`,
        );
      }
      return;
    case 'keepequal':
    case 'dropequal':
      needTarget();
      needValidTarget(section.isLabelName(targetLabel, names));
      refuseOthers(
        section,
        config,
        ['regex', 'modulus', 'separator', 'replacement'],
        'source_labels and target_label',
      );
      return;
    case 'labelmap':
      if (!isLabelTemplate(section, replacement, names)) {
        throw section.error('replacement', `${JSON.stringify(replacement)} cannot become a label name`);
      }
      return;
    case 'labeldrop':
    case 'labelkeep':
      refuseOthers(
        section,
        config,
        ['source_labels', 'target_label', 'modulus', 'separator', 'replacement'],
        'regex',
      );
      return;
  }
}

/** Refuses values other than the defaults: they would be ignored. */
function refuseOthers(
  section: Section,
  config: RelabelConfig,
  keys: readonly string[],
  allowed: string,
): void {
  const isDefault: Readonly<Record<string, boolean>> = {
    source_labels: config.sourceLabels.length === 0,
    target_label: config.targetLabel === '',
    modulus: config.modulus === 0,
    separator: config.separator === DEFAULT_SEPARATOR,
    regex: config.regex === DEFAULT_REGEX,
    replacement: config.replacement === DEFAULT_REPLACEMENT,
  };
  for (const key of keys) {
    if (!isDefault[key])
      throw section.error(key, `has no meaning for action ${config.action}, which takes ${allowed} only`);
  }
}

/** A label name in which `$1` and `${name}` stand for parts of the match. */
function isLabelTemplate(section: Section, text: string, names: NameValidation): boolean {
  if (names !== 'legacy') return section.isLabelName(text, names);
  const withoutReferences = text.replaceAll(/\$(?:\{\w+\}|\w+)/g, '_');
  return section.isLabelName(withoutReferences, names);
}
