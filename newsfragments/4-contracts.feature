Contracts bind for months, renew, and charge an early end, which `caudal subscription stop --dry-run` tells beforehand.
