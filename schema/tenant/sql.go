package tenant

import "github.com/google/uuid"

// become has no parameter, since the driver needs a second round trip for those. A UUID prints as hexadecimal digits and
// dashes, whatever is in it.
func become(company uuid.UUID, access Access) string {
	statement := `SELECT set_config('role', 'webhooks_tenant', true), set_config('webhooks.company_id', '` + company.String() + `', true)`
	if access == ReadOnly {
		statement += `, set_config('transaction_read_only', 'on', true)`
	}
	return statement
}
