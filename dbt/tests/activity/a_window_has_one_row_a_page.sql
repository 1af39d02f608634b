-- Nothing is written twice.
select window_start, page_url
from {{ source('activity', 'page_view_counts') }}
group by 1, 2
having count(*) > 1
