Prometheus reads `/metrics` on `[metrics] listen` and `port`, `/healthz` tells load balancers whether requests can be served, and `examples/prometheus-rules.yml` holds alerts to begin with.
