-- No page view is lost on the way from minutes to hours.
with sums as (
    select
        (select coalesce(sum(view_count), 0) from {{ source('activity', 'page_view_counts') }}) as minutes,
        (select coalesce(sum(view_count), 0) from {{ ref('page_views_hourly') }}) as hours
)
select * from sums where minutes <> hours
