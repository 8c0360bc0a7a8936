"""Parameters that name a customer, a service or a router; the shell completes them out of the daemon."""

from __future__ import annotations

import click

from cli.completion import named

_CUSTOMERS = named("/v1/customers", "login")
_SERVICES = named("/v1/services", "login")
_SUBSCRIPTIONS = named("/v1/subscriptions", "name")
_PRODUCTS = named("/v1/products", "name")

customer_argument = click.argument("customer", metavar="CUSTOMER", shell_complete=_CUSTOMERS)
customer_option = click.option("--customer", metavar="LOGIN", shell_complete=_CUSTOMERS, help="Only of this customer.")
service_argument = click.argument("service", metavar="SERVICE", shell_complete=_SERVICES)
service_option = click.option(
    "--service", metavar="LOGIN", shell_complete=_SERVICES, help="The line it belongs to; a plan needs it."
)
subscription_argument = click.argument("subscription", metavar="SUBSCRIPTION", shell_complete=_SUBSCRIPTIONS)
product_argument = click.argument("product", metavar="PRODUCT", shell_complete=_PRODUCTS)
product_option = click.option(
    "--product", required=True, metavar="NAME", shell_complete=_PRODUCTS, help="What it is charged as, with its taxes."
)
login_option = click.option("--login", metavar="NAME", shell_complete=_SERVICES, help="Only of this login.")
router_option = click.option(
    "--router", metavar="NAME", shell_complete=named("/v1/routers", "name"), help="Only on this router."
)
