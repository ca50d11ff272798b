"""Everything below the HTTP views: dispatch, pipeline, adapters and values."""
