-- Page views by page and hour. Counts of windows add up, since tumbling windows share no event.
select
    date_trunc('hour', window_start) as hour,
    page_url,
    sum(view_count)::bigint as view_count
from {{ source('activity', 'page_view_counts') }}
group by 1, 2
