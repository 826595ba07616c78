// Tenants: isolated users of the cluster.

/** The tenant of everybody, where no authentication tells tenants apart. */
export const DEFAULT_TENANT = 'anonymous';
