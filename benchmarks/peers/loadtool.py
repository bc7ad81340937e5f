"""dlt into duckdb, with history kept by its strategy `scd2`: what changed is what the last load brought."""

import os
from collections.abc import Iterator
from typing import Any

import dlt
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator

from benchmarks.peers.known import arguments, asked


def main() -> None:
    told = arguments()
    os.environ.update(
        RUNTIME__LOG_LEVEL="CRITICAL", RUNTIME__DLTHUB_TELEMETRY="false", DLT_DATA_DIR=str(told.folder / "dlt")
    )
    pages = PageNumberPaginator(base_page=1, page_param="index", total_path=None, stop_after_empty_page=True)
    client = RESTClient(told.vendor, auth=BearerTokenAuth("benchmark"), paginator=pages, data_selector="Items")

    @dlt.resource(name="bookings", write_disposition={"disposition": "merge", "strategy": "scd2"}, max_table_nesting=0)
    def bookings() -> Iterator[Any]:
        yield from client.paginate("/apis/bookings", params={"bookingstatus": 3, "size": told.page})

    pipeline = dlt.pipeline(
        pipeline_name="bookings",
        pipelines_dir=str(told.folder / "pipelines"),
        destination=dlt.destinations.duckdb(str(told.folder / "site.duckdb")),
        dataset_name="bookings",
    )

    def poll() -> int:
        info = pipeline.run(bookings(), loader_file_format="parquet")
        with pipeline.sql_client() as sql:
            found = sql.execute_sql("SELECT count(*) FROM bookings WHERE _dlt_load_id = %s", info.loads_ids[-1])
        return int(found[0][0]) if found else 0

    asked(poll)


if __name__ == "__main__":
    main()
