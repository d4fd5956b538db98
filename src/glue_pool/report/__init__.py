"""From a folder of results to what the numbers support: a table, two files to go on with, and a page with plots.

python -m glue_pool.report outputs/
"""
