"""Which credential a node cannot do without, as the packages of n8n 2.41 declare it (``nodes.json``, read on 2.41.1).

Only those whose nodes require one and the same type of credential in every version of the node and whatever its parameters
say: a node that has a choice is in no table, and nothing is said about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

_BASE, _LANGCHAIN_PREFIX = "n8n-nodes-base.", "@n8n/n8n-nodes-langchain."
# A name stands for itself with ``Api`` behind it, a trigger's without its ``Trigger``.
_NAMED_ALIKE: Final = """
actionNetwork activeCampaign activeCampaignTrigger adalo affinity affinityTrigger agileCrm airtop apiTemplateIo
autopilot autopilotTrigger bambooHr bannerbear bitwarden bubble calTrigger chargebee circleCi citrixAdc clearbit
clockify clockifyTrigger cloudflare cockpit coda contentful convertKit convertKitTrigger copper copperTrigger cortex
currents currentsTrigger customerIo customerIoTrigger deepL demio dhl discourse disqus dropcontact egoi elasticsearch
elasticSecurity emelia emeliaTrigger erpNext flow flowTrigger formIoTrigger freshdesk freshservice freshworksCrm gotify
grafana haloPSA homeAssistant humanticAi hunter intercom invoiceNinja invoiceNinjaTrigger iterable jenkins jinaAi
jotFormTrigger koBoToolbox koBoToolboxTrigger lemlist lemlistTrigger lingvaNex loneScale loneScaleTrigger magento2
mailcheck mailerLite mailerLiteTrigger mailgun mandrill marketstack matrix mattermost messageBird metabase misp mocean
monicaCrm msg91 n8n nasa netlify netlifyTrigger okta onfleet onfleetTrigger openAi openWeatherMap orbit oura paddle
payPal payPalTrigger peekalink perplexity phantombuster plivo postHog postmarkTrigger profitWell pushcut pushcutTrigger
pushover quickbase rocketchat rundeck salesmate seaTable seaTableTrigger securityScorecard segment sendGrid sendInBlue
sendy signl4 slackTrigger sms77 splunk stackby stripe stripeTrigger supabase syncroMsp taiga taigaTrigger tapfiliate
telegram telegramTrigger theHive theHiveProject togglTrigger totp travisCi twilio twilioTrigger unleashedSoftware
uplead uproc uptimeRobot urlScanIo venafiTlsProtectCloud venafiTlsProtectCloudTrigger venafiTlsProtectDatacenter vero
vonage wekan whatsApp wise wiseTrigger wooCommerce wooCommerceTrigger workableTrigger wufooTrigger yourls zulip
"""
# ``node:credential``; without a credential it has the name of the node, without its ``Trigger``.
_OTHERS: Final = """
amqp: amqpTrigger: azureCosmosDb:microsoftAzureCosmosDbSharedKeyApi box:boxOAuth2Api boxTrigger:boxOAuth2Api
Brandfetch:brandfetchApi ciscoWebex:ciscoWebexOAuth2Api ciscoWebexTrigger:ciscoWebexOAuth2Api crateDb:
emailReadImap:imap emailSend:smtp facebookLeadAdsTrigger:facebookLeadAdsOAuth2Api filemaker:fileMaker
googleAds:googleAdsOAuth2Api googleAnalytics:googleAnalyticsOAuth2 googleBusinessProfile:googleBusinessProfileOAuth2Api
googleBusinessProfileTrigger:googleBusinessProfileOAuth2Api googleCalendar:googleCalendarOAuth2Api
googleCalendarTrigger:googleCalendarOAuth2Api googleCloudNaturalLanguage:googleCloudNaturalLanguageOAuth2Api
googleContacts:googleContactsOAuth2Api googlePerspective:googlePerspectiveOAuth2Api googleTasks:googleTasksOAuth2Api
goToWebinar:goToWebinarOAuth2Api gSuiteAdmin:gSuiteAdminOAuth2Api helpScout:helpScoutOAuth2Api
helpScoutTrigger:helpScoutOAuth2Api hubspotTrigger:hubspotDeveloperApi jwt:jwtAuth kafka: kafkaTrigger:
keap:keapOAuth2Api keapTrigger:keapOAuth2Api ldap: mailjetTrigger:mailjetEmailApi
microsoftDataverse:microsoftDataverseOAuth2Api microsoftDynamicsCrm:microsoftDynamicsOAuth2Api
microsoftEntra:microsoftEntraOAuth2Api microsoftSql: mistralAi:mistralCloudApi mongoDb: mqtt: mqttTrigger: mySql:
oneSimpleApi: oracleDatabase:oracleDBApi philipsHue:philipsHueOAuth2Api postgres: postgresTrigger:
pushbullet:pushbulletOAuth2Api questDb: quickbooks:quickBooksOAuth2Api rabbitmq: rabbitmqTrigger:
raindrop:raindropOAuth2Api redis: redisTrigger: s3: spotify:spotifyOAuth2Api strava:stravaOAuth2Api
stravaTrigger:stravaOAuth2Api timescaleDb: twake:twakeCloudApi twist:twistOAuth2Api whatsAppTrigger:whatsAppTriggerApi
xero:xeroOAuth2Api youTube:youTubeOAuth2Api zohoCrm:zohoOAuth2Api
"""
_LANGCHAIN: Final = """
alibabaCloud:alibabaCloudApi anthropic:anthropicApi chatHubVectorStorePGVector:chatHubVectorStorePGVectorApi
chatHubVectorStorePinecone:chatHubVectorStorePineconeApi chatHubVectorStoreQdrant:chatHubVectorStoreQdrantApi
documentGithubLoader:githubApi embeddingsAzureOpenAi:azureOpenAiApi embeddingsCohere:cohereApi
embeddingsDatabricks:databricksOAuth2Api embeddingsGoogleGemini:googlePalmApi embeddingsGoogleVertex:googleApi
embeddingsHuggingFaceInference:huggingFaceApi embeddingsLemonade:lemonadeApi embeddingsMistralCloud:mistralCloudApi
embeddingsNvidia:nvidiaApi embeddingsOllama:ollamaApi embeddingsOpenAi:openAiApi embeddingsOracleDb:oracleDBApi
googleGemini:googlePalmApi lmChatAlibabaCloud:alibabaCloudApi lmChatAnthropic:anthropicApi lmChatCohere:cohereApi
lmChatDatabricks:databricksOAuth2Api lmChatDeepSeek:deepSeekApi lmChatGoogleGemini:googlePalmApi
lmChatGoogleVertex:googleApi lmChatGroq:groqApi lmChatLemonade:lemonadeApi lmChatMinimax:minimaxApi
lmChatMistralCloud:mistralCloudApi lmChatMoonshot:moonshotApi lmChatNvidia:nvidiaApi lmChatOllama:ollamaApi
lmChatOpenAi:openAiApi lmChatOpenRouter:openRouterApi lmChatVercelAiGateway:vercelAiGatewayApi lmChatXAiGrok:xAiApi
lmCohere:cohereApi lmLemonade:lemonadeApi lmOllama:ollamaApi lmOpenAi:openAiApi
lmOpenHuggingFaceInference:huggingFaceApi mcpRegistryClientTool:mcpOAuth2Api memoryMongoDbChat:mongoDb
memoryMotorhead:motorheadApi memoryPostgresChat:postgres memoryRedisChat:redis memoryXata:xataApi memoryZep:zepApi
microsoftAgent365Trigger:microsoftAgent365Api minimax:minimaxApi moonshot:moonshotApi ollama:ollamaApi openAi:openAiApi
openAiAssistant:openAiApi rerankerCohere:cohereApi toolSearXng:searXngApi toolSerpApi:serpApi
toolWolframAlpha:wolframAlphaApi vectorStoreAzureAISearch:azureAiSearchApi vectorStoreMilvus:milvusApi
vectorStoreMongoDBAtlas:mongoDb vectorStoreOracleDBVector:oracleDBApi vectorStorePGVector:postgres
vectorStorePinecone:pineconeApi vectorStorePineconeInsert:pineconeApi vectorStorePineconeLoad:pineconeApi
vectorStoreQdrant:qdrantApi vectorStoreRedis:redis vectorStoreSupabase:supabaseApi
vectorStoreSupabaseInsert:supabaseApi vectorStoreSupabaseLoad:supabaseApi vectorStoreWeaviate:weaviateApi
vectorStoreZep:zepApi vectorStoreZepInsert:zepApi vectorStoreZepLoad:zepApi
"""


def _pairs() -> Iterator[tuple[str, str]]:
    for name in _NAMED_ALIKE.split():
        yield _BASE + name, f"{name.removesuffix('Trigger')}Api"
    for prefix, table in ((_BASE, _OTHERS), (_LANGCHAIN_PREFIX, _LANGCHAIN)):
        for pair in table.split():
            name, _, credential = pair.partition(":")
            yield prefix + name, credential or name.removesuffix("Trigger")


REQUIRED_CREDENTIALS: Final[Mapping[str, str]] = MappingProxyType(dict(_pairs()))
"""Node type → type of the credential without which n8n 2.x publishes no workflow with it."""
