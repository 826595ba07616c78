// Label bytes as the merging of blocks compares them.
import { compareLabelBytes as compare } from '../../model/label-bytes.ts';

export const compareLabelBytes: typeof compare = compare;
