// Target groups from a file, JSON or YAML: a list of `{targets, labels}`.
import { ConfigError } from '../runtime/config/config-error.ts';
import { type ConfigNode, parseConfigDocument } from '../runtime/config/config-node.ts';
import type { TargetGroup } from '../runtime/config/discovery-config.ts';
import { type ConfigContext, Section } from '../runtime/config/section.ts';

/** Label that every target of a file carries during relabelling: the file's path. */
export const FILE_PATH_LABEL = '__meta_filepath';

/**
 * Reads the text of a target file.
 *
 * @throws ConfigError with file, line, column and reason.
 */
export function parseTargetFile(text: string, file: string): readonly TargetGroup[] {
  const { root } = parseConfigDocument(text, file);
  const context: ConfigContext = {
    file,
    baseDir: '',
    environment: {},
    redactions: new Map(),
    notices: [],
    nameValidation: 'utf8',
  };
  return listItems(root, file).map((item, i) => {
    const outer = new Section(
      { kind: 'map', entries: new Map(), line: item.line, column: item.column },
      '',
      context,
    );
    const section = outer.sectionOf(item, `[${i}]`);
    const targets = section.texts('targets');
    const labels = section.labels('labels').with(FILE_PATH_LABEL, file);
    section.finish();
    return { targets, labels, source: `${file}:${i}` };
  });
}

function listItems(root: ConfigNode, file: string): readonly ConfigNode[] {
  if (root.kind === 'list') return root.items;
  if (root.kind === 'null') return [];
  throw new ConfigError(file, root, '', 'the file must be a list of groups with targets and labels');
}
