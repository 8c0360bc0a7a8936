Near a threshold routers report more often and MikroTik ends sessions by itself, so that a cap is overshot by little; the metrics tell by how much.
