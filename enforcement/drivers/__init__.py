"""The hands of enforcement, its only I/O: they tell routers what was decided and bring back what these answer."""
