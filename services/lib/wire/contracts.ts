// The door to the generated code: message types and service definitions of proto/tidemark/v1, under the names that
// services use. Nothing else outside wire/ and transport/ knows that ts-proto made them.
import { AlertEvaluatorDefinition } from './gen/tidemark/v1/alert_evaluator.ts';
import { AppendOutcome, IngesterDefinition } from './gen/tidemark/v1/ingester.ts';
import { IngesterReplicationDefinition } from './gen/tidemark/v1/ingester_replication.ts';
import { BlockHorizonDefinition, PartEvaluationDefinition } from './gen/tidemark/v1/part_evaluation.ts';
import { QuerierDefinition, ResultType } from './gen/tidemark/v1/querier.ts';
import { RangeVersionsDefinition } from './gen/tidemark/v1/range_versions.ts';
import { MatchType } from './gen/tidemark/v1/read.ts';
import { ScraperDefinition, TargetState } from './gen/tidemark/v1/scraper.ts';
import { StoreDefinition } from './gen/tidemark/v1/store.ts';
import { StoreReplicationDefinition } from './gen/tidemark/v1/store_replication.ts';

export type {
  Alert,
  AlertingRule,
  AlertmanagersRequest,
  AlertmanagersResponse,
  Rule,
  RuleGroup,
  RuleGroupsRequest,
  RuleGroupsResponse,
} from './gen/tidemark/v1/alert_evaluator.ts';
export type {
  DeleteSeriesRequest,
  DeleteSeriesResponse,
  ListDeletesResponse,
  PendingDelete,
  UndoDeleteRequest,
  UndoDeleteResponse,
} from './gen/tidemark/v1/deletion.ts';
export type {
  AdmitSeriesRequest,
  AdmitSeriesResponse,
  AppendRequest,
  AppendResponse,
  FenceRequest,
  FenceResponse,
  HeadStatisticsRequest,
  HeadStatisticsResponse,
  MetadataRequest,
  MetadataResponse,
  MetricMetadata,
  NamedCount,
  SealRequest,
  SealResponse,
} from './gen/tidemark/v1/ingester.ts';
export type {
  FencesResponse,
  FetchMetadataRequest,
  FetchMetadataResponse,
  FetchWritesRequest,
  FetchWritesResponse,
  HeldWritesRequest,
  HeldWritesResponse,
  LeaveRequest,
  LeaveResponse,
  SealedWritesRequest,
} from './gen/tidemark/v1/ingester_replication.ts';
export type {
  EvaluatePartRequest,
  EvaluatePartResponse,
  EvaluateSharesRequest,
  HeldLeavesRequest,
  HeldLeavesResponse,
  LeafBlock,
  NewestSampleRequest,
  NewestSampleResponse,
  PartShare,
  UnsealedRequest,
  UnsealedResponse,
} from './gen/tidemark/v1/part_evaluation.ts';
export type {
  ActiveQuery,
  AnswerCoverage,
  LabelSearchRequest,
  LabelSearchResponse,
  MatcherSet,
  PartitionGroup,
  QueryHeader,
  QueryRequest,
  QueryResponse,
  QueryTrailer,
  SeriesRequest,
  SeriesResponse,
} from './gen/tidemark/v1/querier.ts';
export type { VersionsRequest, VersionsResponse } from './gen/tidemark/v1/range_versions.ts';
export type {
  Coverage,
  LabelsRequest,
  LabelsResponse,
  Matcher as WireMatcher,
  PartitionCoverage,
  SelectRequest as WireSelectRequest,
  SelectResponse,
} from './gen/tidemark/v1/read.ts';
export type {
  ActiveTarget,
  BalanceRequest,
  BalanceResponse,
  DiscoveredGroup,
  DiscoverRequest,
  DiscoverUpdate,
  DroppedTarget,
  RelabelStep,
  RelabelStepsRequest,
  RelabelStepsResponse,
  TargetMetadataRequest,
  TargetMetadataResponse,
  TargetsRequest,
  TargetsResponse,
} from './gen/tidemark/v1/scraper.ts';
export type {
  BlockFile,
  BlockHeader,
  BlockPiece,
  BlockSummary,
  FetchBlockRequest,
  ListBlocksRequest,
  ListBlocksResponse,
  PutBlockRequest,
  PutBlockResponse,
  SnapshotRequest,
  SnapshotResponse,
} from './gen/tidemark/v1/store.ts';
export type {
  BlockMove,
  BlockName,
  BucketStatus,
  ConfirmBlocksRequest,
  ConfirmBlocksResponse,
  DoneDelete,
  HeldBlock as WireHeldBlock,
  InventoryRequest,
  InventoryResponse,
  PullBlockRequest,
  ReplicationStatusResponse,
} from './gen/tidemark/v1/store_replication.ts';
export {
  AlertEvaluatorDefinition,
  AppendOutcome,
  BlockHorizonDefinition,
  IngesterDefinition,
  IngesterReplicationDefinition,
  MatchType,
  PartEvaluationDefinition,
  QuerierDefinition,
  RangeVersionsDefinition,
  ResultType,
  ScraperDefinition,
  StoreDefinition,
  StoreReplicationDefinition,
  TargetState,
};
