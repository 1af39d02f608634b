-- Nothing is written twice: an entity of a record is one row.
select kafka_topic, kafka_partition, kafka_offset, entity_id
from {{ source('transit', 'vehicle_positions') }}
group by 1, 2, 3, 4
having count(*) > 1
